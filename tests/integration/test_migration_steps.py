"""A migration in steps: interrupted, killed, in company, and held up by a long report."""

import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import psycopg
import pytest

from ledger.migration import TableHeldError, migrate, migrations
from ledger.schema import described
from ledger.steps import run
from tests.databases.former_member import former_release
from tests.databases.writing import write_to
from tests.inputs.callbacks import decided, element
from tests.waiting import NET_SECONDS, eventually

ROOT = Path(__file__).parents[2]
STEPS, SPEND, CONTRACT = "0011", "0012", "0019"
LATER = [STEPS, SPEND, "0013", "0014", "0015", "0016", "0017", "0018", CONTRACT]


@pytest.mark.parametrize(
    ("revision", "taken"),
    [
        *((STEPS, taken) for taken in range(7)),
        *((SPEND, taken) for taken in (1, 3, 5, 9, 11)),
        *((CONTRACT, taken) for taken in range(1, 4)),
    ],
)
def test_an_interrupted_migration_goes_on(
    former_url: str, migrated_whole: str, revision: str, taken: int
) -> None:
    """After whichever step it ended, and with an index that it left half made."""
    with former_release():
        write_to(former_url, [decided(element()), decided(element(id="2"))])
    migrate(former_url, f"{int(revision) - 1:04}")
    with psycopg.connect(former_url, autocommit=True) as connection:
        for step in itertools.islice(run(connection, migrations()[revision]), taken):
            step.take()
        if (revision, taken) == (STEPS, 2):
            with pytest.raises(psycopg.errors.UniqueViolation):
                connection.execute(
                    "CREATE UNIQUE INDEX CONCURRENTLY charge_receipts_response_hash"
                    " ON billing.charge_receipts (stream) NULLS NOT DISTINCT"
                )
    assert migrate(former_url) == [one for one in LATER if one >= revision]
    assert described(former_url) == migrated_whole
    with psycopg.connect(former_url) as connection:
        invalid = connection.execute("SELECT FROM pg_index WHERE NOT indisvalid").fetchall()
    assert invalid == []


@pytest.fixture
def migrated_whole(database_url: str) -> str:
    """The schema as it is made from nothing."""
    migrate(database_url)
    return described(database_url)


def test_a_migration_that_is_killed_while_it_makes_an_index_is_finished_by_the_next(
    former_url: str, migrated_whole: str
) -> None:
    with former_release():
        write_to(former_url, [decided(element())])
    with psycopg.connect(former_url) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT FROM billing.usage_units")
        with started(former_url) as process:
            # An index is not finished before whoever began before it has ended.
            eventually(lambda: builds(former_url), "the first index to wait for the reader")
            process.kill()
            process.wait(NET_SECONDS)
        # Nobody is held up by what it left.
        with former_release():
            assert write_to(former_url, [decided(element(id="meanwhile"))]) == ["created usage"]
    assert migrate(former_url) == LATER
    assert described(former_url) == migrated_whole


def started(url: str) -> subprocess.Popen[bytes]:
    """A process that migrates."""
    return subprocess.Popen(
        [sys.executable, "-m", "operator_cli", "migrate"],
        cwd=ROOT,
        env={"DATABASE_URL": url, "PATH": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def builds(url: str) -> bool:
    """Whether an index is being made and waits."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT FROM pg_stat_progress_create_index WHERE datname = current_database()"
            " AND phase LIKE 'waiting%'"
        ).fetchall()
    return len(found) == 1


def test_two_that_migrate_at_once_do_it_together(former_url: str, migrated_whole: str) -> None:
    with former_release():
        write_to(former_url, [decided(element())])
    with ThreadPoolExecutor() as pool:
        found = [pool.submit(migrate, former_url) for _ in range(3)]
        applied = [revision for one in found for revision in one.result(NET_SECONDS)]
    assert sorted(applied) == ["0010", *LATER]
    assert described(former_url) == migrated_whole


@pytest.fixture
def reader(former_url: str) -> Iterator[psycopg.Connection]:
    """Somebody whose report of the receipts takes long."""
    with psycopg.connect(former_url, application_name="a-long-report") as connection:
        connection.execute("SELECT count(*) FROM billing.charge_receipts")
        yield connection


@pytest.mark.parametrize("last", ["0010", CONTRACT])
def test_a_long_report_makes_a_migration_give_up_and_holds_no_writer_up(
    former_url: str, reader: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    monkeypatch.setattr("ledger.migration._REFUSALS", 2)
    if last == CONTRACT:
        reader.rollback()
        # All but the step that takes the table for itself.
        migrate(former_url, LATER[-2])
        with psycopg.connect(former_url, autocommit=True) as connection:
            next(run(connection, migrations()[CONTRACT])).take()
        reader.execute("SELECT count(*) FROM billing.charge_receipts")
    stopped = threading.Event()
    written = list[str]()

    def writes() -> None:
        # For members of the release before the last one would wait.
        with nullcontext() if last == CONTRACT else former_release():
            for number in itertools.count():
                if stopped.is_set():
                    return
                written.extend(write_to(former_url, [decided(element(id=f"{number}"))]))

    thread = threading.Thread(target=writes)
    thread.start()
    try:
        with pytest.raises(TableHeldError, match=r"a-long-report.*pg_terminate_backend"):
            migrate(former_url, last)
        so_far = len(written)
        eventually(lambda: len(written) > so_far, "the writer to come through", 30)
    finally:
        stopped.set()
        thread.join(NET_SECONDS)
    assert set(written) == {"created usage"}
    reader.rollback()
    assert migrate(former_url)[-1] == CONTRACT
