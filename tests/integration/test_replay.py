"""A bad release parks what is good; after the fix, a replay makes the books whole."""

import json
import random
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

import psycopg
import pytest
from psycopg import sql

from charging.decision import decide
from charging.outcomes import Charge, Deferred
from schemas.headers import RECEIVED_AT
from tests.databases.database import fresh_database
from tests.inputs import captures
from tests.inputs.callbacks import element, policy, record, usage_unit
from tests.processes.consuming import CALLBACKS, USAGE_UNITS, Consuming
from tests.processes.process import exit_code
from tests.waiting import eventually

Books: TypeAlias = dict[str, list[dict[str, Any]]]
Start: TypeAlias = Callable[[str], Consuming]

LIMIT: Final = 100
"""CONSUMER_DEAD_LETTER_RUN as it is unless somebody sets it."""
UNITS: Final = 10
RULES = policy(free=tuple(captures.FREE_MODELS.split(",")))
PROVENANCE = {"kafka_topic", "kafka_topic_id", "kafka_partition", "kafka_offset"}
LEFT_OUT: Final = {
    # When the row was written; by which record, and a replayed record is another one.
    "charge_receipts": {"created_at", "credit_batch", *PROVENANCE},
    "llm_charge_details": set[str](),
    "former_charge_details": set[str](),
    # The number is given in the order of writing.
    "deferred_calls": {"id", "deferred_at", "resolved_at", *PROVENANCE},
    "receipt_conflicts": {"id", "detected_at", *PROVENANCE},
    "usage_units": {"created_at", *PROVENANCE},
}
NAMES_OF_THE_CALLBACK = {"litellm_call_id", "occurred_at", "latency_ms", "marks"}
"""What two callbacks of one call may say differently without contradicting one another: the
receipt has them from the first that is committed, and after a replay that may be the other one."""


@pytest.fixture
def start(
    kafka: str,
    database_server: str,
    migrated_template: str,
    topic_prefix: str,
    tmp_path: Path,
) -> Iterator[Start]:
    """Makes topics, a group and a database of their own for each name."""
    with ExitStack() as stack:

        def made(name: str) -> Consuming:
            url = stack.enter_context(fresh_database(database_server, migrated_template))
            directory = tmp_path / name
            directory.mkdir()
            free = {"BILLING_FREE_MODELS": captures.FREE_MODELS}
            prefix = f"{topic_prefix}{name}."
            return stack.enter_context(closing(Consuming(kafka, url, prefix, directory, free)))

        yield made


def call(number: int, **fields: object) -> bytes:
    """A call of its own in one of seven runs."""
    spend = {"run_id": f"run-{number % 7}", "attempt": 0}
    name = f"call-{number}"
    return element(id=name, litellm_call_id=name, metadata={"spend_logs_metadata": spend}, **fields)


def first_wave() -> list[bytes]:
    """All captures, and calls of every fate, some of them twice."""
    made = [
        call(number, **({}, {"response_cost": 0}, {"response_cost": None})[number % 3])
        for number in range(240)
    ]
    made += [call(number, status="failure", response_cost=0) for number in range(240, 270)]
    made += [call(number, startTime=None, endTime=None) for number in range(270, 300)]
    values = captures.all_elements() + made + made[::5]
    random.Random(3).shuffle(values)  # noqa: S311 - a test's shuffle
    return values


def second_wave() -> list[bytes]:
    """Repeats, costs that came after all, contradictions, and what is really bad."""
    return [
        *(call(number) for number in range(0, 60, 2)),
        *(call(number) for number in range(500, 510)),
        *(call(number, response_cost=7) for number in range(500, 510)),
        *(element(id=None, litellm_call_id=None, model=f"bad-{number}") for number in range(3)),
    ]


def send(consuming: Consuming, values: list[bytes]) -> None:
    """Send callbacks as the gateway does, with the time at which it took them."""
    consuming.send(*values, headers=[(RECEIVED_AT, b"2026-11-20T10:00:00.250Z")])


def send_units(consuming: Consuming) -> None:
    """Send usage units."""
    for number in range(UNITS):
        unit = usage_unit(unit_id=f"0190c0de-0000-7000-8000-{number:012}")
        consuming.produce(USAGE_UNITS, b"run-1", json.dumps(unit).encode())
    consuming.flush()


def all_committed(consuming: Consuming) -> None:
    """Wait until the group has finished both topics."""
    consuming.topics.wait_until_consumed(CALLBACKS)
    consuming.topics.wait_until_consumed(USAGE_UNITS)


def told_differently(values: list[bytes]) -> set[str]:
    """The keys of calls of which several callbacks came that are not the same bytes."""
    seen: dict[str, set[bytes]] = {}
    for value in values:
        decision = decide(record(value), RULES)
        if isinstance(decision, Charge):
            seen.setdefault(decision.receipt.call_key, set()).add(value)
        elif isinstance(decision, Deferred):
            seen.setdefault(decision.call_key, set()).add(value)
    return {key for key, forms in seen.items() if len(forms) > 1}


def books(consuming: Consuming, ambiguous: set[str]) -> Books:
    """Every row of every table, without `LEFT_OUT`."""
    with psycopg.connect(consuming.database_url) as connection:
        found: Books = {}
        for table, columns in LEFT_OUT.items():
            statement = sql.SQL("SELECT to_jsonb(t) - %s::text[] FROM {} t ORDER BY 1")
            cursor = connection.execute(
                statement.format(sql.Identifier("billing", table)), [sorted(columns)]
            )
            found[table] = [row for (row,) in cursor]
    several = {row["id"] for row in found["charge_receipts"] if row["call_key"] in ambiguous}
    for row in (*found["charge_receipts"], *found["llm_charge_details"]):
        if row.get("id", row.get("charge_receipt_id")) in several:
            for name in NAMES_OF_THE_CALLBACK & row.keys():
                del row[name]
    for rows in found.values():
        rows.sort(key=json.dumps)
    return found


def clean_run(consuming: Consuming) -> None:
    """Everything through a good release."""
    send_units(consuming)
    send(consuming, first_wave())
    good = consuming.member()
    all_committed(consuming)
    send(consuming, second_wave())
    all_committed(consuming)
    assert good.end() == 0


def bad_release(consuming: Consuming) -> int:
    """A release that parks everything, until it stops by itself; how much it has parked."""
    send_units(consuming)
    bad = consuming.member(
        ready=False, program=["tests.doubles.broken_release"], CONSUMER_BATCH_RECORDS="10"
    )
    eventually(lambda: len(consuming.dead_letters()) == UNITS, "the usage units to be parked")
    send(consuming, first_wave())
    assert exit_code(bad.process, "the bad release") == 1
    said = bad.log.read_text()
    assert "error: stopped by the dead-letter limit: 100 records in a row would be parked" in said
    assert "This release is faulty: install the previous or a corrected one" in said
    parked = len(consuming.dead_letters())
    assert UNITS < parked < LIMIT
    assert consuming.tables.receipts() == []
    return parked


def look(consuming: Consuming, parked: int, chosen: list[str]) -> None:
    """What an operator does first: list, and see what would be done."""
    before = consuming.topics.ends(CALLBACKS)
    listed = consuming.command("replay")
    assert re.search(rf"contract_broken\s+{parked}\b", listed), listed
    assert re.search(r"no_usable_id\s+3\b", listed), listed
    assert f"dry run: add --apply to send {parked} back" in consuming.command("replay", *chosen)
    assert consuming.topics.ends(CALLBACKS) == before


def replay(consuming: Consuming, parked: int, chosen: list[str]) -> None:
    """And then: do it."""
    assert f"sent {parked} back" in consuming.command("replay", *chosen, "--apply")
    all_committed(consuming)


def test_a_bad_release_is_stopped_and_a_replay_makes_the_tables_those_of_a_clean_run(
    start: Start,
) -> None:
    clean, hurt = start("clean"), start("hurt")
    ambiguous = told_differently(first_wave() + second_wave())
    clean_run(clean)
    whole = books(clean, ambiguous)

    began = datetime.now(UTC)
    parked = bad_release(hurt)
    mended = hurt.member()
    all_committed(hurt)
    send(hurt, second_wave())
    all_committed(hurt)
    assert books(hurt, ambiguous) != whole, "nothing was missing"
    chosen = ["--reason", "contract_broken", "--since", began.strftime("%Y-%m-%dT%H:%M:%S%z")]
    look(hurt, parked, chosen)
    replay(hurt, parked, chosen)

    assert books(hurt, ambiguous) == whole
    assert (len(whole["receipt_conflicts"]), len(whole["usage_units"])) == (10, UNITS)
    count = len(whole["charge_receipts"])
    hurt.every_receipt_is_published_once(count)
    clean.every_receipt_is_published_once(count)

    before = hurt.tables.snapshot()
    replay(hurt, parked, chosen)
    assert hurt.tables.snapshot() == before
    hurt.every_receipt_is_published_once(count)
    assert len(hurt.dead_letters()) == parked + 3
    assert mended.end() == 0
