-- The schema as statements of SQL, in an order in which they can be run: what `ledger/schema.sql` holds.
WITH relations AS (
    SELECT class.oid, class.relname, class.relkind, class.reloptions, class.relacl, class.relowner,
        format('%I.%I', 'billing', class.relname) AS name
    FROM pg_class AS class
    WHERE class.relnamespace = 'billing'::regnamespace AND class.relkind IN ('r', 'v')
),
lines AS (
    SELECT attrelid AS relation, 0 AS kind, attnum::text AS place, format(
        '%I %s%s%s%s', attname, format_type(atttypid, atttypmod),
        CASE WHEN attnotnull THEN ' NOT NULL' END,
        CASE attidentity WHEN 'a' THEN ' GENERATED ALWAYS AS IDENTITY' END,
        ' DEFAULT ' || pg_get_expr(adbin, adrelid)
    ) AS line
    FROM pg_attribute
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT conrelid, CASE contype WHEN 'p' THEN 1 WHEN 'u' THEN 2 WHEN 'f' THEN 3 ELSE 4 END, conname,
        format('CONSTRAINT %I %s', conname, pg_get_constraintdef(oid, true))
    FROM pg_constraint
    WHERE contype <> 'n'
),
tables AS (
    SELECT relations.oid, format(
        E'CREATE TABLE %s (\n    %s\n)%s', relations.name,
        string_agg(line, E',\n    ' ORDER BY kind, CASE kind WHEN 0 THEN lpad(place, 6) ELSE place END),
        ' WITH (' || array_to_string(relations.reloptions, ', ') || ')'
    ) AS statement
    FROM relations
    JOIN lines ON lines.relation = relations.oid
    WHERE relations.relkind = 'r'
    GROUP BY relations.oid, relations.name, relations.reloptions
),
functions AS (
    SELECT proc.oid, rtrim(pg_get_functiondef(proc.oid), E'\n') AS statement, lang.lanname = 'sql' AS late
    FROM pg_proc AS proc
    JOIN pg_language AS lang ON lang.oid = proc.prolang
    WHERE proc.pronamespace = 'billing'::regnamespace
),
rights AS (
    SELECT name, relowner, relacl AS acl, NULL AS in_column FROM relations
    UNION ALL
    SELECT name, relowner, attacl, attname FROM relations JOIN pg_attribute ON attrelid = relations.oid
    UNION ALL
    SELECT 'SCHEMA billing', nspowner, nspacl, NULL FROM pg_namespace WHERE nspname = 'billing'
),
granted AS (
    SELECT name, one.grantee, one.privilege_type
        || coalesce(' (' || string_agg(quote_ident(in_column), ', ' ORDER BY in_column) || ')', '') AS what
    FROM rights
    CROSS JOIN LATERAL aclexplode(acl) AS one
    WHERE one.grantee <> relowner
    GROUP BY name, one.grantee, one.privilege_type, in_column IS NULL
),
grants AS (
    SELECT name, grantee, string_agg(what, ', ' ORDER BY what) AS what FROM granted GROUP BY name, grantee
),
statements AS (
    SELECT 0 AS step, 0::oid AS about, 0 AS kind, '' AS place, 'CREATE SCHEMA billing' AS statement
    UNION ALL
    SELECT CASE WHEN late THEN 3 ELSE 1 END, oid, 0, '', statement FROM functions
    UNION ALL
    SELECT 2, oid, 0, '', statement FROM tables
    UNION ALL
    SELECT 2, indrelid, 1, indexrelid::regclass::text, pg_get_indexdef(indexrelid, 0, true)
    FROM pg_index
    WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
    UNION ALL
    SELECT CASE relkind WHEN 'v' THEN 3 ELSE 2 END, tgrelid, 2, tgname, pg_get_triggerdef(pg_trigger.oid, true)
    FROM pg_trigger
    JOIN relations ON relations.oid = tgrelid
    WHERE NOT tgisinternal
    UNION ALL
    SELECT 3, oid, 0, '', format(E'CREATE VIEW %s AS\n%s', name, rtrim(pg_get_viewdef(oid, 90), ';'))
    FROM relations
    WHERE relkind = 'v'
    UNION ALL
    SELECT CASE relkind WHEN 'v' THEN 3 ELSE 2 END, relations.oid, 3,
        lpad(objsubid::text, 6), format(
            'COMMENT ON %s IS %L',
            CASE
                WHEN objsubid > 0 THEN 'COLUMN ' || name || '.' || quote_ident(attname)
                WHEN relkind = 'v' THEN 'VIEW ' || name
                ELSE 'TABLE ' || name
            END,
            description
        )
    FROM relations
    JOIN pg_description ON objoid = relations.oid AND classoid = 'pg_class'::regclass
    LEFT JOIN pg_attribute ON attrelid = relations.oid AND attnum = objsubid AND objsubid > 0
    UNION ALL
    SELECT 4, 0, 0, name || what, format(
        'GRANT %s ON %s TO %s', what, name,
        string_agg(CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, ', ' ORDER BY grantee::regrole::text)
    )
    FROM grants
    GROUP BY name, what
)
SELECT step, about, kind, statement
FROM statements
WHERE about = 0 OR about IN (SELECT oid FROM relations) OR about IN (SELECT oid FROM functions)
ORDER BY step, about, kind, place, statement
