-- The sources that have receipts or deferrals: a probe of each index for every source, no scan. The
-- usual one is among them whether it has any or not.
WITH RECURSIVE known (source) AS (
    SELECT least(
        (SELECT min(source_system) FROM billing.charge_receipts WHERE source_system <> 'litellm'),
        (SELECT min(source_system) FROM billing.deferred_calls)
    )
    UNION ALL
    SELECT least(
        (
            SELECT min(source_system) FROM billing.charge_receipts
            WHERE source_system <> 'litellm' AND source_system > known.source
        ),
        (SELECT min(source_system) FROM billing.deferred_calls WHERE source_system > known.source)
    )
    FROM known WHERE known.source IS NOT NULL
)
SELECT source FROM known WHERE source IS NOT NULL
UNION
SELECT 'litellm'
