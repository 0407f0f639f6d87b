"""Seals and checkpoints: whatever is changed behind the ledger's back is named."""

import hashlib
import random
from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.checkpoints import checkpoint
from ledger.sealed_rows import adopt, verification
from ledger.verification import Problem, Verified
from tests.databases.writing import write_to
from tests.inputs import captures
from tests.inputs.callbacks import costing, decided, in_run

RECEIPTS: Final = 210
BATCH: Final = 7
ALTERED: Final = 20
ID: Final = 0
"""Where a problem's values have the receipt's id."""
OTHERS: Final = {
    "boolean": "NOT {}",
    "uuid": "gen_random_uuid()",
    "timestamp with time zone": "{} + interval '1 microsecond'",
    "ARRAY": "{} || ARRAY['more']",
    "text": "coalesce({}, '') || 'x'",
    "numeric": "coalesce({}, 0) + 0.0000001",
}
"""Another value of a column, by its type; a number goes up by one."""
ALWAYS: Final = {"charge_reason": "'partial'", "stream": "false"}


@pytest.fixture
def url(migrated_database_url: str) -> str:
    """A ledger with receipts, thirty transactions."""
    calls = [decided(in_run(number), offset=number) for number in range(RECEIPTS)]
    write_to(migrated_database_url, calls, BATCH)
    return migrated_database_url


def problems(url: str, published: dict[int, bytes] | None = None) -> tuple[list[Problem], Verified]:
    """What is not as it was written, and how much was looked at."""
    counted = Verified()
    with verification(url, published or {}, counted) as found:
        return list(found), counted


def as_superuser(url: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Do what no trigger keeps a superuser from."""
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")
        cursor = connection.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []


class Link(NamedTuple):
    """A checkpoint, as it stands in the ledger."""

    number: int
    previous: bytes
    hash: bytes
    seals: int
    records: int


def altered_to(url: str, column: str, other: str, receipt: UUID) -> list[tuple[Any, ...]]:
    """Give a receipt another value; its id then."""
    change = "UPDATE billing.charge_receipts SET {} = {} WHERE id = %s RETURNING id"
    return as_superuser(url, change.format(column, other), receipt)


def made(url: str) -> Link | None:
    """A checkpoint of what waits."""
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        if not checkpoint(cursor, 0):
            return None
    query = "SELECT number, previous, hash, seals, records FROM billing.checkpoints"
    return Link(*as_superuser(url, f"{query} ORDER BY number DESC LIMIT 1")[0])


def columns(url: str) -> Iterator[tuple[str, str]]:
    """Every column of receipts but their time, and how to get another value for it."""
    query = (
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema ="
        " 'billing' AND table_name = 'charge_receipts' AND column_name <> 'created_at'"
    )
    for name, kind in as_superuser(url, query):
        yield name, ALWAYS.get(name, OTHERS.get(kind, "coalesce({}, 0) + 1"))


def test_what_was_written_is_as_it_was(url: str) -> None:
    found, counted = problems(url)
    assert found == []
    assert (counted.receipts, counted.seals) == (RECEIPTS, RECEIPTS // BATCH)


def test_every_captured_callback_is_read_as_it_was_written(migrated_database_url: str) -> None:
    calls = [decided(value, offset=at) for at, value in enumerate(captures.all_elements())]
    write_to(migrated_database_url, calls)
    found, counted = problems(migrated_database_url)
    assert found == []
    assert counted.receipts > 10


COSTS: Final = st.one_of(
    st.sampled_from(["-0.0", "-0", "0", "0.0", "1e2", "1E+2", "1e-7", "0.10", "4.950e-6", "-0e-3"]),
    st.decimals(0, 1000, places=9).map(str),
    st.floats(0, 100, allow_nan=False).map(repr),
)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(COSTS, min_size=1, max_size=30))
def test_a_cost_is_read_as_it_was_written_however_it_is_spelled(
    migrated_database_url: str, costs: list[str]
) -> None:
    as_superuser(migrated_database_url, "TRUNCATE billing.charge_receipts, billing.seals CASCADE")
    calls = [costing(cost, id=f"call-{number}") for number, cost in enumerate(costs)]
    write_to(migrated_database_url, [decided(call, offset=at) for at, call in enumerate(calls)])
    assert problems(migrated_database_url)[0] == []


def test_twenty_rows_that_a_superuser_alters_are_named(url: str) -> None:
    chance = random.Random(19)  # noqa: S311 - a schedule, no secret
    ids = [
        row[0] for row in as_superuser(url, "SELECT id FROM billing.charge_receipts ORDER BY id")
    ]
    altered = chance.sample(ids, ALTERED)
    for one in altered:
        name, other = chance.choice([c for c in columns(url) if c[0] != "id"])
        altered_to(url, name, other.format(name), one)
    found, _ = problems(url)
    assert {problem.what for problem in found} == {"altered"}
    assert sorted(problem.values[ID] for problem in found) == sorted(altered)


def test_every_column_of_a_receipt_is_sealed(url: str) -> None:
    as_superuser(url, "CREATE TABLE kept AS SELECT * FROM billing.charge_receipts")
    [(one,)] = as_superuser(url, "SELECT id FROM kept LIMIT 1")
    for name, other in columns(url):
        [(now,)] = altered_to(url, name, other.format(name), one)
        [problem] = problems(url)[0]
        assert (problem.what, problem.values[ID]) == ("altered", now), name
        as_superuser(url, "DELETE FROM billing.charge_receipts WHERE id = %s", now)
        as_superuser(
            url, "INSERT INTO billing.charge_receipts SELECT * FROM kept WHERE id = %s", one
        )
    assert problems(url)[0] == []


def test_rows_that_are_removed_added_or_moved_in_time_are_told(url: str) -> None:
    ids = [
        row[0] for row in as_superuser(url, "SELECT id FROM billing.charge_receipts ORDER BY id")
    ]
    as_superuser(url, "DELETE FROM billing.charge_receipts WHERE id = ANY(%s)", ids[:2])
    copied = (
        "INSERT INTO billing.charge_receipts SELECT (jsonb_populate_record(receipt,"
        " jsonb_build_object('id', gen_random_uuid()))).* FROM billing.charge_receipts AS receipt"
        " WHERE id = %s RETURNING id"
    )
    [(added,)] = as_superuser(url, copied, ids[2])
    found, _ = problems(url)
    assert sum(problem.count for problem in found if problem.what == "removed") == 2
    assert [problem.values[ID] for problem in found if problem.what == "added"] == [added]
    as_superuser(
        url,
        "UPDATE billing.charge_receipts SET created_at = created_at + interval '1 day'"
        " WHERE id = %s",
        ids[3],
    )
    found, _ = problems(url)
    assert [problem.values[ID] for problem in found if problem.what == "unsealed"] == [ids[3]]


def test_seals_that_are_changed_with_their_rows_show_in_the_chain(url: str) -> None:
    first = made(url)
    assert first
    assert (first.number, first.seals, first.records) == (1, RECEIPTS // BATCH, RECEIPTS)
    assert made(url) is None
    write_to(url, [decided(in_run(number), offset=number) for number in range(1_000, 1_010)])
    second = made(url)
    assert second
    assert (second.previous, second.records) == (first.hash, 10)
    found, counted = problems(url, {1: first.hash, 2: second.hash})
    assert (found, counted.checkpoints, counted.last) == ([], 2, second.hash)

    as_superuser(url, "UPDATE billing.seals SET digest = sha256(digest) WHERE id = 1")
    details = [problem.detail for problem in problems(url)[0]]
    assert details == [
        "seal 1 has another digest than its rows",
        "checkpoint 1 was made of other seals",
    ]


def test_a_chain_that_is_made_anew_is_not_the_published_one(url: str) -> None:
    first = made(url)
    assert first
    as_superuser(url, "UPDATE billing.charge_receipts SET charged_credits = 0")
    as_superuser(url, "DELETE FROM billing.sealed")
    as_superuser(url, "DELETE FROM billing.seals")
    as_superuser(url, "DELETE FROM billing.checkpoints")
    assert adopt(url, "mallory") == RECEIPTS
    again = made(url)
    assert again
    assert problems(url)[0] == []
    [problem] = problems(url, {1: first.hash})[0]
    assert problem.detail == "checkpoint 1 was published with another hash"
    [problem] = problems(url, {1: again.hash, 2: hashlib.sha256().digest()})[0]
    assert problem.detail == "checkpoint 2 was published and is missing"
    # Nor is one that is gone, all of it.
    as_superuser(url, "TRUNCATE billing.sealed, billing.seals, billing.checkpoints")
    [problem] = problems(url, {1: first.hash})[0]
    assert problem.detail == "checkpoint 1 was published and is missing"


def test_receipts_from_before_seals_are_sealed_once_somebody_says_so(url: str) -> None:
    as_superuser(url, "DELETE FROM billing.sealed WHERE seal_id <= 10")
    as_superuser(url, "DELETE FROM billing.seals WHERE id <= 10")
    found, counted = problems(url)
    assert (found, counted.unsealed) == ([], 10 * BATCH)
    assert counted.receipts == RECEIPTS
    assert adopt(url, "ada") == 10 * BATCH
    assert adopt(url, "ada") == 0
    assert problems(url)[0] == []
    people = as_superuser(url, "SELECT DISTINCT person FROM billing.seals WHERE id > 30")
    assert people == [("ada",)]
