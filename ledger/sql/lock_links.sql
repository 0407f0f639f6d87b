-- One transaction at a time for each background response, and in one order, so that two members that
-- meet on several cannot deadlock.
SELECT pg_advisory_xact_lock(key)
FROM (
    SELECT DISTINCT hashtextextended(link, 0) AS key
    FROM unnest(%(links)s::text[]) AS link
    ORDER BY key
) AS ordered
