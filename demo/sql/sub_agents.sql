-- Cost of each sub-agent of a run; the calls that name none are the run's own.
SELECT
    nullif(receipt.run_id, receipt.call_key) AS run_id, receipt.sub_agent_id,
    receipt.parent_sub_agent_id, count(*) AS calls,
    sum(receipt.response_cost_usd) AS response_cost_usd,
    sum(receipt.charged_usd) AS charged_usd,
    sum(receipt.charged_credits)::bigint AS charged_credits
FROM billing.detailed_receipts AS receipt
WHERE receipt.litellm_call_id = ANY(%(calls)s)
GROUP BY 1, 2, 3
ORDER BY min(receipt.occurred_at)
