"""Roles: who may add and who may read."""

from importlib.resources import files

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(
        files("consumer").joinpath("migrations/sql/0002_roles.sql").read_text("utf-8")
    )
