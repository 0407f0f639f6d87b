-- As Alembic makes it, with which earlier releases read and write the same table.
CREATE SCHEMA IF NOT EXISTS billing;
CREATE TABLE IF NOT EXISTS billing.schema_migrations (
    version_num varchar(32) NOT NULL,
    CONSTRAINT schema_migrations_pkc PRIMARY KEY (version_num)
);
