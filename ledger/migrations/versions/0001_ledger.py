"""The ledger: receipts, details, deferred calls, conflicts, usage units."""

from alembic import op

from ledger.migrations import run_sql

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_sql(op.get_bind(), "0001_ledger")
