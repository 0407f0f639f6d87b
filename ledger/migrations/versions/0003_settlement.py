"""Settlement: who settled a deferral, and why."""

from alembic import op

from ledger.migrations import run_sql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run_sql(op.get_bind(), "0003_settlement")
