-- Their accounts are locked, so no other transaction adds one of these meanwhile.
SELECT
    hold.id, hold.billing_account_id, hold.amount, hold.state, hold.expires_at,
    hold.litellm_call_id, hold.nonce
FROM (
    SELECT DISTINCT account, litellm_call_id, nonce
    FROM json_to_recordset(%(asks)s) AS ask (account text, litellm_call_id text, nonce text)
) AS asked
JOIN billing.credit_holds AS hold
    ON hold.billing_account_id = asked.account
    AND hold.litellm_call_id = asked.litellm_call_id
    AND hold.nonce = asked.nonce
