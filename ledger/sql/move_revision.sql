WITH moved AS (
    UPDATE billing.schema_migrations SET version_num = %(revision)s RETURNING version_num
)
INSERT INTO billing.schema_migrations
SELECT %(revision)s WHERE NOT EXISTS (SELECT FROM moved)
