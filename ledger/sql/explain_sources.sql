-- The sources that have receipts or deferrals: a probe of each index for every source, no scan.
WITH RECURSIVE charged (source) AS (
    (SELECT source_system FROM billing.charge_receipts ORDER BY source_system LIMIT 1)
    UNION ALL
    SELECT (
        SELECT source_system FROM billing.charge_receipts
        WHERE source_system > charged.source ORDER BY source_system LIMIT 1
    )
    FROM charged WHERE charged.source IS NOT NULL
),
waiting (source) AS (
    (SELECT source_system FROM billing.deferred_calls ORDER BY source_system LIMIT 1)
    UNION ALL
    SELECT (
        SELECT source_system FROM billing.deferred_calls
        WHERE source_system > waiting.source ORDER BY source_system LIMIT 1
    )
    FROM waiting WHERE waiting.source IS NOT NULL
)
SELECT source FROM charged WHERE source IS NOT NULL
UNION
SELECT source FROM waiting WHERE source IS NOT NULL
