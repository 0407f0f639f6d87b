"""A pooler between consumer and PostgreSQL: each transaction may have another session."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from typing import Any

import psycopg
import pytest

from ledger.migration import migrate
from tests.databases.database import with_database
from tests.databases.pgbouncer import PgBouncer
from tests.inputs.callbacks import element, in_run
from tests.processes.consuming import Consuming, assigned
from tests.waiting import eventually

SESSION = """
SELECT current_user = session_user, current_setting('lock_timeout'),
    current_setting('statement_timeout'), current_setting('enable_seqscan'),
    current_setting('idle_in_transaction_session_timeout'),
    (SELECT count(*) FROM pg_prepared_statements),
    (SELECT count(*) FROM pg_class WHERE relpersistence = 't')
"""


@pytest.fixture(params=["transaction", "session"])
def pooler(request: pytest.FixtureRequest, migrated_database_url: str) -> Iterator[PgBouncer]:
    """PgBouncer in front of the database; in session mode each member has a session of its own."""
    size = 1 if request.param == "transaction" else 5
    with closing(PgBouncer(migrated_database_url, request.param, size)) as made:
        made.start()
        yield made


class Neighbour(threading.Thread):
    """Another client of the pool, which uses it in between and looks at what it finds there."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._end = threading.Event()
        self.found: set[tuple[Any, ...]] = set()
        self.looks = 0

    def run(self) -> None:
        """Look until it is enough."""
        with psycopg.connect(self._url, autocommit=True, prepare_threshold=None) as connection:
            while not self._end.is_set():
                self.found |= set(connection.execute(SESSION).fetchall())
                self.looks += 1

    def enough(self) -> None:
        """Stop."""
        self._end.set()
        self.join()


def zero(number: int) -> bytes:
    """A call of a paid model that cost nothing: deferred."""
    return element(id=f"zero-{number}", litellm_call_id=f"zero-{number}", response_cost=0)


def lacks_database(line: Mapping[str, object]) -> bool:
    """Whether a member logged that a batch is tried again because of PostgreSQL."""
    again = line["event"] == "batch will be tried again"
    return again and line["dependency"] == "postgresql"


def test_consumers_share_a_pool_with_others_and_leave_nothing_in_it(
    consuming: Consuming, pooler: PgBouncer
) -> None:
    with psycopg.connect(consuming.database_url) as connection:
        untouched = connection.execute(SESSION).fetchall()
    neighbour = Neighbour(pooler.url)
    neighbour.start()
    # Two members in one session: what one of them has set, the other one would meet.
    members = [
        consuming.member(DATABASE_URL=pooler.url, CONSUMER_BATCH_RECORDS="10") for _ in range(2)
    ]
    eventually(lambda: min(assigned(members)) == 9, "each to hold its share")
    for start in range(0, 210, 70):
        consuming.send(*(in_run(number) for number in range(start, start + 70)))
        consuming.send(*(zero(number) for number in range(start, start + 10)))
        consuming.all_committed()
    eventually(lambda: neighbour.looks > 20, "the neighbour to have looked")
    neighbour.enough()
    assert neighbour.found == set(untouched)
    consuming.every_receipt_is_published_once(210)
    assert len(consuming.tables.deferred()) == 30
    assert not [line for member in members for line in member.lines() if lacks_database(line)]
    assert [member.end() for member in members] == [0, 0]


def test_commands_work_through_a_pool(consuming: Consuming, pooler: PgBouncer) -> None:
    consuming.member(DATABASE_URL=pooler.url)
    consuming.send(zero(1), in_run(1))
    consuming.all_committed()
    for _ in range(2):
        through = partial(consuming.command, DATABASE_URL=pooler.url)
        assert "up to date" in through("migrate", "--check")
        assert "none" not in through("deferred", "list")
        assert "run-1" in through("report", "--table", "runs")


def test_a_new_database_is_migrated_through_a_pool(
    consuming: Consuming, pooler: PgBouncer, database_url: str
) -> None:
    name = database_url.partition("?")[0].rpartition("/")[2]
    through = with_database(pooler.url, name)
    assert "applied: 0001" in consuming.command("migrate", DATABASE_URL=through)
    assert "up to date" in consuming.command("migrate", DATABASE_URL=through)


def test_a_ledger_in_use_is_upgraded_through_a_pool_of_two(former_url: str) -> None:
    """One of them holds the lock, the other one takes the steps."""
    with closing(PgBouncer(former_url, "transaction", 2)) as pooler:
        pooler.start()
        assert migrate(pooler.url) == [
            "0010",
            "0011",
            "0012",
            "0013",
            "0014",
            "0015",
            "0016",
            "0017",
            "0018",
            "0019",
        ]
        assert migrate(pooler.url) == []
