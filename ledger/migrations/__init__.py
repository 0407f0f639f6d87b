"""The schema's history: one revision, one SQL file."""

from importlib.resources import files

from sqlalchemy import Connection


def run_sql(connection: Connection, name: str) -> None:
    """Run `sql/<name>.sql` as one script in the migration's transaction."""
    script = files("ledger").joinpath("migrations", "sql", f"{name}.sql").read_text("utf-8")
    # Past SQLAlchemy, which would read every percent sign as a parameter.
    driver = connection.connection.driver_connection
    if driver is None:
        raise RuntimeError("the migration's connection is closed")
    driver.execute(script)
