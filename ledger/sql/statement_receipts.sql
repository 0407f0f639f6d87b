-- The receipts of an account whose calls began on the days of a period, and the corrections that were
-- made on these days, in the order of their checksum.
SELECT
    spent.started_at AS started, spent.receipt_id AS receipt, spent.litellm_call_id AS call,
    spent.team_id AS team, spent.key_alias AS key, spent.model,
    CASE WHEN NOT 'unattributed_run' = ANY(spent.marks) THEN spent.run_id END AS run,
    spent.sub_agent_id AS agent, spent.charge_reason AS reason,
    trim_scale(spent.response_cost_usd) AS "cost USD",
    trim_scale(spent.charged_usd) AS "charged USD",
    spent.charged_credits::numeric AS credits,
    spent.cost_source = 'correction' AS correction
FROM billing.spend AS spent
WHERE spent.account = %(account)s
    AND hashtextextended(spent.account, 0) = hashtextextended(%(account)s::text, 0)
    AND spent.day >= %(first_day)s
    AND spent.day < %(before_day)s
ORDER BY spent.started_at, spent.receipt_id, spent.created_at
