WITH placed AS MATERIALIZED (
    SELECT hold.id, hold.expires_at, asked.*
    FROM json_to_recordset(%(holds)s) AS hold (id uuid, ask json, expires_at timestamptz),
        json_to_record(hold.ask) AS asked (
            account text, litellm_call_id text, nonce text, amount bigint, run_id text, attempt integer, model text
        )
),
raised AS (
    UPDATE billing.credit_accounts AS account
    SET held = account.held + more.amount
    FROM (SELECT placed.account, sum(placed.amount)::bigint AS amount FROM placed GROUP BY placed.account) AS more
    WHERE account.billing_account_id = more.account
        AND account.billing_account_id = ANY(ARRAY(SELECT placed.account FROM placed))
)
INSERT INTO billing.credit_holds (
    id, billing_account_id, litellm_call_id, nonce, amount, run_id, attempt, model, expires_at
)
SELECT id, account, litellm_call_id, nonce, amount, run_id, attempt, model, expires_at
FROM placed
