-- Their accounts are locked, so no other transaction adds one of these meanwhile. Each is looked up by itself: what
-- PostgreSQL takes a list to have would have it read all holds instead.
SELECT
    hold.id, hold.billing_account_id, hold.amount, hold.state, hold.expires_at,
    hold.litellm_call_id, hold.nonce
FROM (
    SELECT DISTINCT account, litellm_call_id, nonce
    FROM json_to_recordset(%(asks)s) AS ask (account text, litellm_call_id text, nonce text)
) AS asked
CROSS JOIN LATERAL (
    SELECT *
    FROM billing.credit_holds AS one
    WHERE one.billing_account_id = asked.account
        AND one.litellm_call_id = asked.litellm_call_id
        AND one.nonce = asked.nonce
    LIMIT 1
) AS hold
