"""Roles: who may add and who may read."""

from alembic import op

from ledger.migrations import run_sql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_sql(op.get_bind(), "0002_roles")
