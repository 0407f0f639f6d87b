-- Who pays for runs whose calls name nobody. What was said first counts.
SELECT DISTINCT ON (unit.run_id, unit.attempt) unit.run_id, unit.attempt, unit.billing_account_id
FROM json_to_recordset(%(runs)s) AS asked (run_id text, attempt integer)
INNER JOIN billing.usage_units AS unit USING (run_id, attempt)
WHERE unit.billing_account_id IS NOT NULL
ORDER BY unit.run_id, unit.attempt, unit.created_at, unit.unit_id
