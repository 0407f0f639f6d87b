-- The first row of the last so many pages of receipts: they are written one behind the other.
SELECT format(
    '(%%s,0)', greatest(pg_relation_size('billing.charge_receipts') / current_setting('block_size')::bigint - %(pages)s, 0)
)
