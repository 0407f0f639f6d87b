SELECT count(*), coalesce(sum(charged_credits), 0) FROM billing.charge_receipts WHERE credit_batch IS NULL
