"""Background responses: creates and reads that wait for each other."""

from alembic import op

from ledger.migrations import run_sql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run_sql(op.get_bind(), "0006_background_responses")
