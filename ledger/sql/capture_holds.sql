-- Holds whose call has its receipt in this transaction. One that was released or has expired stays as
-- it is, and frees nothing.
WITH charged AS MATERIALIZED (
    SELECT hold, charge_receipt_id, charged
    FROM json_to_recordset(%(captured)s) AS one (hold uuid, charge_receipt_id uuid, charged bigint)
),

taken AS MATERIALIZED (
    SELECT hold.id
    FROM billing.credit_holds AS hold
    WHERE hold.id = ANY(ARRAY(SELECT hold FROM charged)) AND hold.state = 'held'
    ORDER BY hold.id
    FOR NO KEY UPDATE
)

UPDATE billing.credit_holds AS hold
SET
    state = 'captured',
    ended_at = clock_timestamp(),
    charge_receipt_id = charged.charge_receipt_id,
    captured = charged.charged
FROM charged
INNER JOIN taken ON taken.id = charged.hold
WHERE hold.id = taken.id
RETURNING hold.billing_account_id, hold.amount
