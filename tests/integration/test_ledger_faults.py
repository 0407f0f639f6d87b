"""The ledger when something goes wrong: races, refusals, lost sessions, forbidden changes."""

import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing

import psycopg
import pytest
from msgspec.structs import replace
from psycopg import sql

from charging.outcomes import Charge, Decided, Outcome
from ledger.receipts import ReceiptWriter
from schemas.receipt import ChargeReason
from tests.databases.writing import ROLE, outcomes, write
from tests.inputs.callbacks import (
    costing,
    decided,
    element,
)
from tests.observers.ledger import Ledger as Tables
from tests.waiting import NET_SECONDS, eventually

IMMUTABLE = (
    "charge_receipts",
    "llm_charge_details",
    "former_charge_details",
    "receipt_conflicts",
)
ZERO = element(response_cost=0)


def test_two_writers_on_the_same_keys_make_one_receipt_each(
    migrated_database_url: str, tables: Tables
) -> None:
    """Two members that meet on the same calls: no deadlock, nothing parked, nothing twice."""
    keys, rounds, writers = 40, 8, 4
    start = threading.Barrier(writers)
    found: list[Outcome] = []

    def member(number: int) -> None:
        rng = random.Random(number)  # noqa: S311 - a test's shuffle
        with closing(ReceiptWriter(migrated_database_url, ROLE)) as ledger:
            ledger.ping()
            for turn in range(rounds):
                ids = [f"{turn}-{key}" for key in range(keys)]
                rng.shuffle(ids)
                batch = [decided(element(id=name), partition=number) for name in ids]
                start.wait(30)
                found.extend(ledger.write(batch))

    run_together(member, writers, start)
    assert Counter(outcomes(found)) == {
        "created usage": keys * rounds,
        "duplicate receipt": keys * rounds * (writers - 1),
    }
    assert len(tables.receipts()) == keys * rounds


def test_two_writers_in_the_same_instant_park_nothing(migrated_database_url: str) -> None:
    """A duplicate that meets its twin inside PostgreSQL is a duplicate, not a refused row."""
    writers, keys = 4, 400
    start = threading.Barrier(writers)
    found: list[Outcome] = []

    def member(number: int) -> None:
        with closing(ReceiptWriter(migrated_database_url, ROLE)) as ledger:
            ledger.ping()
            for key in range(keys):
                one = decided(element(id=f"call-{key}"), partition=number)
                start.wait(30)
                found.extend(ledger.write([one]))

    run_together(member, writers, start)
    assert Counter(outcomes(found)) == {
        "created usage": keys,
        "duplicate receipt": keys * (writers - 1),
    }


def run_together(member: Callable[[int], None], members: int, start: threading.Barrier) -> None:
    """Run `member` in as many threads; the first failure ends them all and is raised."""
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            member(number)
        except BaseException as failure:  # noqa: BLE001 - told to the test's own thread
            failures.append(failure)
            start.abort()

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(members)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(NET_SECONDS)
    if failures:
        raise failures[0]


def impossible(id_: str) -> Decided:
    """A charge that no payload becomes: PostgreSQL refuses a zero without a reason."""
    refused = decided(element(id=id_, response_cost=0, cache_hit=True))
    assert isinstance(refused.decision, Charge)
    receipt = replace(refused.decision.receipt, charge_reason=ChargeReason.USAGE)
    return Decided(refused.record, Charge(receipt, "hash", None, None))


@pytest.mark.parametrize("at", [0, 3, 6])
def test_ONE_BAD_ELEMENT_LOSES_NO_NEIGHBOUR_a_row_that_postgresql_refuses_parks_alone(
    ledger: ReceiptWriter, tables: Tables, at: int
) -> None:
    batch = [decided(element(id=str(n))) for n in range(6)]
    batch.insert(at, impossible("bad"))
    expected = ["created usage"] * 6
    expected.insert(at, "parked unstorable")
    assert write(ledger, *batch) == expected
    assert len(tables.receipts()) == 6


def test_a_nul_that_came_through_parks_alone(ledger: ReceiptWriter, tables: Tables) -> None:
    fine = decided(element(id="fine"))
    bad = decided(element(id="bad"))
    assert isinstance(bad.decision, Charge)
    receipt = replace(bad.decision.receipt, model="a\x00b")
    broken = Decided(bad.record, Charge(receipt, "hash", None, None))
    assert write(ledger, fine, broken) == ["created usage", "parked unstorable"]
    assert len(tables.receipts()) == 1


def test_a_missing_role_stops_and_parks_nothing(migrated_database_url: str) -> None:
    """A fault of the installation is no fault of the records."""
    with closing(ReceiptWriter(migrated_database_url, "no_such_role")) as ledger:
        for _ in range(2):
            with pytest.raises(psycopg.Error, match="no_such_role"):
                ledger.write([decided(element())])
    counted = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND starts_with(application_name, 'billing-consumer')"
    )
    with psycopg.connect(migrated_database_url, autocommit=True) as connection:
        # A backend ends a moment after its client has left.
        eventually(
            lambda: connection.execute(counted).fetchone() == (0,), "refused connections to close"
        )


CHANGES = (
    "UPDATE {table} SET kafka_offset = 0 WHERE false",
    "UPDATE {table} SET billing_account_id = 'mine'",
    "UPDATE {table} SET charge_receipt_id = gen_random_uuid()",
    "UPDATE {table} SET tokens_in = 0",
    "DELETE FROM {table}",
    "DELETE FROM {table} WHERE false",
    "TRUNCATE {table} CASCADE",
    "MERGE INTO {table} t USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE",
)


@pytest.mark.parametrize("role", [ROLE, "owner"])
def test_RECEIPTS_ARE_IMMUTABLE(
    ledger: ReceiptWriter, migrated_database_url: str, role: str
) -> None:
    write(ledger, decided(element()), decided(costing("1")))
    with psycopg.connect(migrated_database_url) as connection:
        # As the release before 0010 writes them.
        connection.execute(
            "INSERT INTO billing.llm_charge_details (charge_receipt_id, stream, tags)"
            " VALUES (gen_random_uuid(), true, '{}')"
        )
    before = Tables(migrated_database_url).snapshot()
    assert all(before[table] for table in IMMUTABLE)
    refused = (
        psycopg.errors.RestrictViolation,
        psycopg.errors.InsufficientPrivilege,
        # A view cannot be truncated.
        psycopg.errors.WrongObjectType,
    )
    with psycopg.connect(migrated_database_url, autocommit=True) as connection:
        if role != "owner":
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        for table, change in itertools.product(IMMUTABLE, CHANGES):
            statement = change.format(table=f"billing.{table}").encode()
            # A column that a table has not is no way in either.
            with pytest.raises((*refused, psycopg.errors.UndefinedColumn)):
                connection.execute(statement)
    assert Tables(migrated_database_url).snapshot() == before


def test_RECEIPTS_ARE_IMMUTABLE_the_refusal_says_what_to_do(migrated_database_url: str) -> None:
    with (
        psycopg.connect(migrated_database_url) as connection,
        pytest.raises(psycopg.errors.RestrictViolation, match=r"append-only: DELETE.*\n.*HINT"),
    ):
        connection.execute("DELETE FROM billing.charge_receipts")


def test_a_terminated_session_is_mended_by_writing_again(
    ledger: ReceiptWriter, migrated_database_url: str, tables: Tables
) -> None:
    batch = [decided(element(id=str(n))) for n in range(20)]
    ledger.write(batch[:10])
    before = tables.snapshot()
    terminate(migrated_database_url)
    with pytest.raises(psycopg.OperationalError):
        ledger.write(batch)
    assert tables.snapshot() == before
    found = outcomes(ledger.write(batch))
    assert found == ["duplicate replayed"] * 10 + ["created usage"] * 10
    assert len(tables.receipts()) == 20


def test_a_session_terminated_in_the_middle_of_a_write_leaves_nothing_of_it(
    ledger: ReceiptWriter, migrated_database_url: str, tables: Tables
) -> None:
    ledger.ping()
    raised: list[BaseException] = []

    def writer() -> None:
        try:
            ledger.write([decided(element(id=str(n))) for n in range(50)])
        except psycopg.OperationalError as error:
            raised.append(error)

    with psycopg.connect(migrated_database_url) as holder:
        # Somebody holds the table, so the write is in its transaction and waits.
        holder.execute("LOCK TABLE billing.deferred_calls IN ACCESS EXCLUSIVE MODE")
        thread = threading.Thread(target=writer)
        thread.start()
        eventually(lambda: waiting(migrated_database_url), "the write to wait for the lock", 30)
        terminate(migrated_database_url)
        thread.join(NET_SECONDS)
        assert not thread.is_alive()
    assert raised
    assert tables.receipts() == []
    found = outcomes(ledger.write([decided(element(id=str(n))) for n in range(50)]))
    assert found == ["created usage"] * 50


def waiting(url: str) -> bool:
    """Whether a session of the consumer waits for a lock."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND starts_with(application_name, 'billing-consumer') AND wait_event_type = 'Lock'"
        ).fetchone()
    return row == (1,)


def terminate(url: str) -> None:
    """End every session of the consumer in this database, and wait until they are gone."""
    asked = (
        "FROM pg_stat_activity WHERE starts_with(application_name, 'billing-consumer')"
        " AND datname = current_database()"
    )
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"SELECT pg_terminate_backend(pid) {asked}")

        def gone() -> bool:
            row = connection.execute(f"SELECT count(*) {asked}").fetchone()
            return row == (0,)

        eventually(gone, "the sessions to end", 30)


def test_the_count_of_deferrals_survives_a_lost_session(
    ledger: ReceiptWriter, migrated_database_url: str
) -> None:
    """An idle consumer must not show a stale gauge until the next batch comes."""
    write(ledger, decided(ZERO))
    terminate(migrated_database_url)
    with pytest.raises(psycopg.OperationalError):
        ledger.open_deferred()
    assert ledger.open_deferred()[0] == 1


def test_a_question_that_is_not_answered_is_given_up_and_asked_again(
    ledger: ReceiptWriter, migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen server answers nobody; the loop must not stand still with it."""
    monkeypatch.setattr("ledger.receipts._ANSWER_SECONDS", 0.5)
    ledger.ping()
    with psycopg.connect(migrated_database_url) as holder:
        holder.execute("LOCK TABLE billing.deferred_calls IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(psycopg.OperationalError):
            ledger.open_deferred()
    assert ledger.open_deferred() == (0, 0.0)


def test_a_write_that_is_abandoned_ends_and_nothing_is_written_after_it(
    ledger: ReceiptWriter, migrated_database_url: str, tables: Tables
) -> None:
    raised: list[BaseException] = []

    def writer() -> None:
        try:
            ledger.write([decided(element())])
        except psycopg.OperationalError as error:
            raised.append(error)

    with psycopg.connect(migrated_database_url) as holder:
        holder.execute("LOCK TABLE billing.deferred_calls IN ACCESS EXCLUSIVE MODE")
        thread = threading.Thread(target=writer)
        thread.start()
        eventually(lambda: waiting(migrated_database_url), "the write to wait for the lock", 30)
        ledger.abandon()
        thread.join(NET_SECONDS)
        assert not thread.is_alive()
    assert raised
    with pytest.raises(psycopg.OperationalError):
        ledger.write([decided(element())])
    assert tables.receipts() == []
