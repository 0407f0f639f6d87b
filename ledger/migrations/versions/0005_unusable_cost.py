"""Unusable cost: deferred with what the sender wrote."""

from alembic import op

from ledger.migrations import run_sql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run_sql(op.get_bind(), "0005_unusable_cost")
