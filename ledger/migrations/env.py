"""Alembic's environment: one connection, one transaction, one migration at a time."""

from alembic import context
from sqlalchemy import create_engine, pool, text

VERSION_SCHEMA = "billing"
# Any number does, as long as every migration of this schema takes the same one.
ADVISORY_LOCK = 4_815_162_342

engine = create_engine(
    "postgresql+psycopg://",
    creator=context.config.attributes["connect"],
    poolclass=pool.NullPool,
)
with engine.begin() as connection:
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {VERSION_SCHEMA}"))
    context.configure(
        connection=connection,
        version_table="schema_migrations",
        version_table_schema=VERSION_SCHEMA,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
