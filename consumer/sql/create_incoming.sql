-- Where a batch lands by COPY before it is merged. Lives with the connection, empty between batches.
CREATE TEMP TABLE incoming_receipts (
    ordinal integer NOT NULL,
    LIKE billing.charge_receipts,
    LIKE billing.llm_charge_details,
    resolved_by text,
    resolution_note text
) ON COMMIT DELETE ROWS;
ALTER TABLE incoming_receipts DROP COLUMN charge_receipt_id, DROP COLUMN created_at;
CREATE TEMP TABLE incoming_deferred (
    ordinal integer NOT NULL,
    LIKE billing.deferred_calls
) ON COMMIT DELETE ROWS;
ALTER TABLE incoming_deferred
    DROP COLUMN id,
    DROP COLUMN deferred_at,
    DROP COLUMN resolved_at,
    DROP COLUMN resolution,
    DROP COLUMN resolved_by,
    DROP COLUMN resolution_note;
