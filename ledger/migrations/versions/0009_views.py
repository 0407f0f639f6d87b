"""Views: what an open deferral is, and from which record of a topic a row was written."""

from alembic import op

from ledger.migrations import run_sql

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    run_sql(op.get_bind(), "0009_views")
