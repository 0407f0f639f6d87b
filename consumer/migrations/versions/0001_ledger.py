"""The ledger: receipts, details, deferred calls, conflicts, usage units."""

from importlib.resources import files

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.get_bind().exec_driver_sql(
        files("consumer").joinpath("migrations/sql/0001_ledger.sql").read_text("utf-8")
    )
