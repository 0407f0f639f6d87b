-- Open deferrals by the names that spend_receipts has. Rows from before 0012 have no account, no
-- caller and no start.
SELECT
    CASE WHEN %(account)s THEN billing_account_id END AS account,
    CASE WHEN %(team)s THEN team_id END AS team,
    CASE WHEN %(key)s THEN key_hash END AS key,
    CASE WHEN %(model)s THEN model END AS model,
    CASE WHEN %(provider)s THEN provider END AS provider,
    CASE
        WHEN %(day)s THEN (
            CASE WHEN %(by_end)s THEN occurred_at ELSE coalesce(started_at, occurred_at) END
            AT TIME ZONE 'UTC'
        )::date
    END AS day,
    CASE WHEN %(run)s THEN nullif(run_id, call_key) END AS run,
    CASE WHEN %(agent)s THEN sub_agent_id END AS agent,
    CASE WHEN %(agent)s THEN parent_sub_agent_id END AS under,
    max(CASE WHEN %(team)s THEN team_alias END) AS "team alias",
    max(CASE WHEN %(key)s THEN key_alias END) AS "key alias",
    count(*) AS "open deferrals"
FROM billing.open_deferrals
WHERE (
        %(since)s::timestamptz IS NULL
        OR CASE WHEN %(by_end)s THEN occurred_at ELSE coalesce(started_at, occurred_at) END
        >= %(since)s
    )
    AND (
        %(until)s::timestamptz IS NULL
        OR CASE WHEN %(by_end)s THEN occurred_at ELSE coalesce(started_at, occurred_at) END
        < %(until)s
    )
    AND (cardinality(%(accounts)s::text[]) = 0 OR billing_account_id = ANY(%(accounts)s))
    AND (cardinality(%(teams)s::text[]) = 0 OR team_id = ANY(%(teams)s))
    AND (cardinality(%(models)s::text[]) = 0 OR model = ANY(%(models)s))
    AND (cardinality(%(runs)s::text[]) = 0 OR run_id = ANY(%(runs)s))
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
