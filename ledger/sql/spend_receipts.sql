-- What was spent, receipts and corrections, by any of its names; those that are not asked for are NULL. Hash and day find an
-- account's or a team's calls by an index, the day or the end alone those of a period. A start is
-- given only where the days do not say it, and not by a time as well: whoever plans the question
-- would take that for fewer calls.
SELECT
    CASE WHEN %(account)s THEN spent.account END AS account,
    CASE WHEN %(team)s THEN spent.team_id END AS team,
    CASE WHEN %(key)s THEN spent.key_hash END AS key,
    CASE WHEN %(model)s THEN spent.model END AS model,
    CASE WHEN %(provider)s THEN spent.provider END AS provider,
    CASE
        WHEN NOT %(day)s THEN NULL
        WHEN %(by_end)s THEN (spent.ended_at AT TIME ZONE 'UTC')::date
        ELSE spent.day
    END AS day,
    CASE WHEN %(run)s AND NOT 'unattributed_run' = ANY(spent.marks) THEN spent.run_id END AS run,
    CASE WHEN %(agent)s THEN spent.sub_agent_id END AS agent,
    CASE WHEN %(agent)s THEN spent.parent_sub_agent_id END AS under,
    max(CASE WHEN %(team)s THEN spent.team_alias END) AS "team alias",
    max(CASE WHEN %(key)s THEN spent.key_alias END) AS "key alias",
    count(*) FILTER (WHERE spent.cost_source <> 'correction') AS calls,
    trim_scale(sum(spent.response_cost_usd)) AS "cost USD",
    trim_scale(sum(spent.charged_usd)) AS "charged USD",
    sum(spent.charged_credits) AS credits
FROM billing.spend AS spent
WHERE (%(first_day)s::date IS NULL OR spent.day >= %(first_day)s)
    AND (%(before_day)s::date IS NULL OR spent.day < %(before_day)s)
    AND (%(started_since)s::timestamptz IS NULL OR spent.started_at >= %(started_since)s)
    AND (%(started_until)s::timestamptz IS NULL OR spent.started_at < %(started_until)s)
    AND (%(ended_since)s::timestamptz IS NULL OR spent.ended_at >= %(ended_since)s)
    AND (%(ended_until)s::timestamptz IS NULL OR spent.ended_at < %(ended_until)s)
    AND (
        cardinality(%(accounts)s::text[]) = 0
        OR (
            spent.account = ANY(%(accounts)s)
            AND hashtextextended(spent.account, 0) = ANY(%(account_hashes)s::bigint[])
        )
    )
    AND (
        cardinality(%(teams)s::text[]) = 0
        OR (
            spent.team_id = ANY(%(teams)s)
            AND hashtextextended(spent.team_id, 0) = ANY(%(team_hashes)s::bigint[])
        )
    )
    AND (cardinality(%(models)s::text[]) = 0 OR spent.model = ANY(%(models)s))
    AND (cardinality(%(runs)s::text[]) = 0 OR spent.run_id = ANY(%(runs)s))
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
