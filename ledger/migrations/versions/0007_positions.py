"""Positions: up to where the ledger knows each partition, and what nobody can read any more."""

from alembic import op

from ledger.migrations import run_sql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run_sql(op.get_bind(), "0007_positions")
