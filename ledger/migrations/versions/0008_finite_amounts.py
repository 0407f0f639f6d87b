"""Finite amounts: numeric columns refuse NaN and Infinity."""

from alembic import op

from ledger.migrations import run_sql

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    run_sql(op.get_bind(), "0008_finite_amounts")
