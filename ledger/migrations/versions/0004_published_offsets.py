"""Published offsets: where to read on when Kafka has lost the group's own."""

from alembic import op

from ledger.migrations import run_sql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run_sql(op.get_bind(), "0004_published_offsets")
