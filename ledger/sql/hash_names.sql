-- Beforehand, so that whoever plans the question knows how often each comes.
SELECT
    ARRAY(SELECT hashtextextended(name, 0) FROM unnest(%(accounts)s::text[]) AS name) AS account_hashes,
    ARRAY(SELECT hashtextextended(name, 0) FROM unnest(%(teams)s::text[]) AS name) AS team_hashes
