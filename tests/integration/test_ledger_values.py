"""What is written is what stands in the tables: text, money, usage units."""

import json
import uuid
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from charging.decision import decide
from charging.kept import kept_of
from charging.outcomes import Decided
from ledger.receipts import ReceiptWriter
from schemas.receipt import plain
from tests.databases.writing import write
from tests.inputs.callbacks import (
    USAGE_UNITS,
    costing,
    decided,
    element,
    policy,
    record,
    usage_unit,
)
from tests.observers.ledger import Ledger as Tables

EDGES = [
    "tab\there",
    "line\nfeed",
    "carriage\rreturn",
    "\\N",
    "\\.",
    "back\\slash",
    "\\t",
    '"quoted"',
    "a,b",
    "{curly}",
    "NULL",
    "null",
    " lead and trail ",
    "läuft \N{ROCKET} \N{HEBREW LETTER ALEF}",
    "\x01\x1f\x7f",
    "a\u2028b",
    "x" * 1_024,
    "\N{ROCKET}" * 256,
]


@pytest.mark.parametrize("text", EDGES, ids=lambda text: repr(text)[:20])
def test_text_arrives_in_the_tables_as_it_is(
    ledger: ReceiptWriter, tables: Tables, text: str
) -> None:
    spend = {"run_id": text, "graph_id": text, "sub_agent_id": text}
    fields: dict[str, Any] = {
        "id": text,
        "end_user": text,
        "model": text,
        "model_group": text,
        "request_tags": [text, text + "2"[: 1024 - len(text.encode())]],
        "metadata": {"spend_logs_metadata": spend},
    }
    assert write(ledger, decided(element(**fields))) == ["created usage"]
    assert write(ledger, decided(element(**fields))) == ["duplicate receipt"]
    unpaid = element(**{**fields, "id": text[:-1] + "0"}, response_cost=0)
    assert write(ledger, decided(unpaid)) == ["deferred suspicious_zero"]
    row, [open_call] = tables.receipt(response_id=text), tables.deferred()
    for column in ("billing_account_id", "run_id", "model", "sub_agent_id"):
        assert row[column] == open_call[column] == text, column
    assert row["graph_id"] == text
    assert row["tags"] == open_call["tags"]
    assert row["tags"][0] == text
    assert bytes(open_call["callback"]) == kept_of(unpaid)


@pytest.mark.parametrize(
    ("cost", "credited"),
    [
        ("1e-60", 1),
        ("0.1234567890123456789012345678901234", 1_234_568),
        ("1000000000", 10**16),
        (
            "999999999.000000000000000000000000000000000000000000000000000000000001",
            9999999990000001,
        ),
        ("1.2500e-06", 13),
    ],
)
def test_MONEY_IS_EXACT_in_the_tables(
    ledger: ReceiptWriter, tables: Tables, cost: str, credited: int
) -> None:
    write(ledger, decided(costing(cost)))
    row = tables.receipt()
    assert row["cost_text"] == plain(Decimal(cost))
    assert row["charged_credits"] == credited


def test_the_largest_charge_fits(ledger: ReceiptWriter, tables: Tables) -> None:
    assert write(ledger, decided(costing("1000000000"), policy(markup="100"))) == ["created usage"]
    assert tables.receipt()["charged_credits"] == 10**18


def test_a_usage_unit_is_kept_once(ledger: ReceiptWriter, tables: Tables) -> None:
    unit = decided_unit(run_id="run\x001", executor="läuft", tokens_in=2**53 - 1)
    assert write(ledger, unit) == ["unit new"]
    assert write(ledger, unit, decided_unit(executor="another")) == ["unit known"] * 2
    [row] = tables.usage_units()
    assert (row["run_id"], row["executor"]) == ("run\ufffd1", "läuft")
    assert tables.receipts() == []


def decided_unit(**fields: object) -> Decided:
    """A usage unit as a record, with the decision about it."""
    taken = record(json.dumps(usage_unit(**fields)).encode(), topic=USAGE_UNITS)
    return Decided(taken, decide(taken, policy()))


ZONES = st.timezones() | st.builds(
    timezone, st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59))
)


@settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    finished=st.datetimes(timezones=ZONES),
    fields=st.fixed_dictionaries(
        {
            "started_at": st.none() | st.datetimes(timezones=ZONES).map(datetime.isoformat),
            "tokens_in": st.integers(-1, 2**64),
            "attempt": st.integers(0, 2**32),
            "model": st.text(max_size=600),
        }
    ),
)
@example(datetime.max.replace(tzinfo=timezone(timedelta(hours=-23))), {})
@example(datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=23))), {})
@example(datetime(1975, 4, 27, tzinfo=ZoneInfo("Africa/Juba")), {})
def test_a_usage_unit_that_is_taken_can_be_stored_and_read_back(
    ledger: ReceiptWriter, tables: Tables, finished: datetime, fields: dict[str, object]
) -> None:
    """What PostgreSQL cannot store is refused before it: at the door, and as a dead letter."""
    name, sent = str(uuid.uuid4()), finished.isoformat()
    unit = decided_unit(unit_id=name, finished_at=sent, **fields)
    [became] = write(ledger, unit)
    assert became in {"unit new", "parked contract_broken"}
    rows = tables.usage_units(unit_id=name)
    assert len(rows) == (became == "unit new")
    # As sent, with its offset: an hour that summer time leaves out equals nothing in another zone.
    assert all(row["finished_at"] == datetime.fromisoformat(sent) for row in rows)
