"""The tests' standby itself: what the chaos ring and the fail-over rely on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString

import psycopg

from tests.databases.embedded_postgres import EmbeddedPostgres
from tests.databases.standby import Standby
from tests.waiting import eventually

KNOWS_THEM = "SELECT to_regclass('kept') IS NOT NULL"


@contextmanager
def running() -> Iterator[tuple[EmbeddedPostgres, Standby]]:
    primary = EmbeddedPostgres()
    try:
        primary.start()
        standby = Standby(primary)
        try:
            standby.start()
            yield primary, standby
        finally:
            standby.remove()
    finally:
        primary.kill()
        primary.remove()


def run(url: str, *statements: LiteralString) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def received_all(primary: EmbeddedPostgres) -> bool:
    question = "SELECT flush_lsn = pg_current_wal_flush_lsn() FROM pg_stat_replication"
    with psycopg.connect(primary.url) as connection:
        return connection.execute(question).fetchone() == (True,)


def test_a_standby_is_promoted_with_rows_to_replay_that_no_open_snapshot_may_see() -> None:
    with running() as (primary, standby):
        run(primary.url, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS number")
        eventually(lambda: standby.has(KNOWS_THEM, answer=True), "the standby to follow")
        run(standby.url, "SELECT pg_wal_replay_pause()")
        run(primary.url, "DELETE FROM kept", "VACUUM kept")
        eventually(lambda: received_all(primary), "the standby to have received the rows' end")
        primary.kill()

        standby.promote()

        assert standby.has("SELECT count(*)::int FROM kept", 0)
        run(standby.url, "INSERT INTO kept VALUES (1)")
        # It is the end of a test that failed between two lives of the server.
        primary.kill()
