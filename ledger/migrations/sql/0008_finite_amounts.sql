-- An amount is a number: numeric takes NaN and Infinity as well, and one of them makes every sum that
-- it is in what it is. NaN is greater than anything. Nothing here writes them; rows that hold one all
-- the same stay, as receipts are immutable, and are named.
DO $$
DECLARE
    amount record;
BEGIN
    FOR amount IN
        SELECT * FROM (VALUES
            ('charge_receipts', 'response_cost_usd'),
            ('charge_receipts', 'charged_usd'),
            ('llm_charge_details', 'saved_cache_cost'),
            ('deferred_calls', 'suggested_cost_usd'),
            ('receipt_conflicts', 'response_cost_usd')
        ) AS amounts (in_table, in_column)
    LOOP
        EXECUTE format(
            'ALTER TABLE billing.%I ADD CONSTRAINT %I CHECK (%I < ''Infinity'' AND %I > ''-Infinity'') NOT VALID',
            amount.in_table, amount.in_column || '_is_finite', amount.in_column, amount.in_column);
        BEGIN
            EXECUTE format('ALTER TABLE billing.%I VALIDATE CONSTRAINT %I',
                amount.in_table, amount.in_column || '_is_finite');
        EXCEPTION WHEN check_violation THEN
            RAISE WARNING 'billing.%: there are rows whose % is NaN or Infinity',
                amount.in_table, amount.in_column;
        END;
    END LOOP;
END $$;
