"""The ledger against a real PostgreSQL: each call written once, whatever comes again."""

import itertools
import random
from collections import Counter
from typing import Any

import psycopg
import pytest
from psycopg import sql

from ledger.receipts import ReceiptWriter
from schemas.receipt import to_kafka
from tests.databases.writing import outcomes, write
from tests.inputs import captures
from tests.inputs.callbacks import (
    NUMBER,
    costing,
    decided,
    element,
    policy,
)
from tests.observers.ledger import Ledger as Tables

CAPTURED = policy(free=tuple(captures.FREE_MODELS.split(",")))


def content(url: str) -> dict[str, list[Any]]:
    """Every row, without what differs by the clock and by who came first."""
    left_out = {
        "charge_receipts": {"created_at", "kafka_offset", "kafka_partition"},
        "llm_charge_details": set[str](),
        "former_charge_details": set[str](),
        "deferred_calls": {"id", "deferred_at", "resolved_at", "kafka_offset", "kafka_partition"},
        "receipt_conflicts": {"id", "detected_at", "kafka_offset", "kafka_partition"},
        "usage_units": {"created_at", "kafka_offset", "kafka_partition"},
    }
    with psycopg.connect(url) as connection:
        return {
            table: connection.execute(
                sql.SQL("SELECT (to_jsonb(t) - %s::text[])::text FROM {} t ORDER BY 1").format(
                    sql.Identifier("billing", table)
                ),
                [sorted(columns)],
            ).fetchall()
            for table, columns in left_out.items()
        }


def test_a_charge_is_created_once_and_then_a_duplicate(
    ledger: ReceiptWriter, tables: Tables
) -> None:
    assert write(ledger, decided(element())) == ["created usage"]
    before = tables.snapshot()
    assert write(ledger, decided(element())) == ["duplicate receipt"]
    assert tables.snapshot() == before
    row = tables.receipt(response_id="chatcmpl-1")
    assert (row["cost_text"], row["charged_credits"]) == ("0.000036", 360)


def test_CHARGE_RECEIPTS_IDEMPOTENT_BY_CALL_ID(ledger: ReceiptWriter, tables: Tables) -> None:
    """The pair is the key: neither half alone is."""
    write(ledger, decided(element(litellm_call_id="a", id="1")))
    write(ledger, decided(element(litellm_call_id="a", id="2")))
    write(ledger, decided(element(litellm_call_id="b", id="1")))
    batch = {"call_type": "aretrieve_batch", "id": "batch_1"}
    found = write(ledger, *(decided(element(litellm_call_id=f"r-{n}", **batch)) for n in range(10)))
    assert Counter(found) == {"created usage": 1, "duplicate receipt": 9}
    assert len(tables.receipts()) == 4
    assert len(tables.receipts(litellm_call_id="a")) == 2
    assert len(tables.receipts(response_id="1")) == 2


def test_each_source_has_its_own_calls(ledger: ReceiptWriter, tables: Tables) -> None:
    assert write(ledger, decided(element()), decided(element(), source="litellm/eu")) == [
        "created usage",
        "created usage",
    ]
    assert {row["source_system"] for row in tables.receipts()} == {"litellm", "litellm/eu"}


def test_of_duplicates_in_one_batch_the_first_wins(ledger: ReceiptWriter, tables: Tables) -> None:
    assert write(
        ledger,
        decided(element(), offset=7),
        decided(element(), offset=8),
        decided(costing("5"), offset=9),
        decided(costing("5"), offset=10),
        decided(costing("6"), offset=11),
    ) == [
        "created usage",
        "duplicate receipt",
        "conflict content",
        "conflict content",
        "conflict content",
    ]
    assert tables.receipt()["kafka_offset"] == 7
    assert sorted(row["response_cost_usd"] for row in tables.conflicts()) == [5, 6]


def test_a_callback_that_comes_after_its_row_and_has_a_17th_digit_is_a_duplicate(
    ledger: ReceiptWriter, tables: Tables
) -> None:
    row, callback = "0.0003300000000000001", "0.00033000000000000005"
    assert write(ledger, decided(costing(row))) == ["created usage"]
    before = tables.snapshot()
    assert write(ledger, decided(costing(callback))) == ["duplicate receipt"]
    assert tables.snapshot() == before
    assert tables.receipt(response_id="chatcmpl-1")["cost_text"] == row
    assert write(ledger, decided(costing("0.00034"))) == ["conflict content"]


def test_a_conflict_is_kept_aside_once_and_overwrites_nothing(
    ledger: ReceiptWriter, tables: Tables
) -> None:
    write(ledger, decided(element()))
    receipts = tables.receipts()
    for _ in range(3):
        assert write(ledger, decided(costing("1"))) == ["conflict content"]
    assert write(ledger, decided(element(end_user="another"))) == ["conflict content"]
    assert write(ledger, decided(element())) == ["duplicate receipt"]
    assert tables.receipts() == receipts
    assert {row["response_cost_usd"] for row in tables.conflicts()} == {
        1,
        receipts[0]["response_cost_usd"],
    }
    assert len(tables.conflicts()) == 2


def test_the_record_that_wrote_a_receipt_is_replayed_with_the_same_event(
    ledger: ReceiptWriter, tables: Tables, migrated_database_url: str
) -> None:
    """A crash between PostgreSQL and Kafka: the event goes out, and it is the same event."""
    with psycopg.connect(migrated_database_url, autocommit=True) as connection:
        zone = sql.SQL("ALTER DATABASE {} SET TimeZone = 'Asia/Kolkata'")
        connection.execute(zone.format(sql.Identifier(connection.info.dbname)))
    spend = {"run_id": "läuft", "attempt": 3, "sub_agent_id": "writer"}
    value = element(
        "1.2500e-06",
        response_cost=NUMBER,
        metadata={"spend_logs_metadata": spend},
        request_tags=["a,b", 'c"d', "NULL", ""],
    )
    first = ledger.write([decided(value, policy(markup="1.50"), offset=5)])
    ledger.close()
    again = ledger.write([decided(value, policy(markup="1.50"), offset=5)])
    assert outcomes(again) == ["duplicate replayed"]
    assert first[0].receipt is not None
    assert again[0].receipt is not None
    assert to_kafka(again[0].receipt) == to_kafka(first[0].receipt)
    assert len(tables.receipts()) == 1


def test_the_same_batch_again_is_replayed_and_only_what_it_wrote(
    ledger: ReceiptWriter, tables: Tables
) -> None:
    """What happens when the Kafka transaction was aborted and the batch is written again."""
    batch = [
        decided(element(id="1"), offset=1),
        decided(element(id="1"), offset=2),
        decided(element(id="2", response_cost=0), offset=3),
        decided(element(id="1", response_cost=9), offset=4),
        decided(element(id=None, litellm_call_id=None), offset=5),
        decided(element(id="3", status="failure", response_cost=0), offset=6),
    ]
    assert outcomes(ledger.write(batch)) == [
        "created usage",
        "duplicate receipt",
        "deferred suspicious_zero",
        "conflict content",
        "parked no_usable_id",
        "skipped failed_call",
    ]
    before = tables.snapshot()
    again = ledger.write(batch)
    assert outcomes(again) == [
        "duplicate replayed",
        "duplicate receipt",
        "duplicate deferred",
        "conflict content",
        "parked no_usable_id",
        "skipped failed_call",
    ]
    assert [bool(outcome.receipt) for outcome in again] == [True, *[False] * 5]
    assert tables.snapshot() == before


def test_a_receipt_from_another_record_is_not_published_again(ledger: ReceiptWriter) -> None:
    ledger.write([decided(element(), offset=5, partition=1)])
    for offset, partition in ((6, 1), (5, 2)):
        found = ledger.write([decided(element(), offset=offset, partition=partition)])
        assert outcomes(found) == ["duplicate receipt"]
        assert found[0].receipt is None


def test_a_replay_under_other_settings_is_no_conflict(
    ledger: ReceiptWriter, tables: Tables
) -> None:
    """The operator changed where accounts come from; the crash came before, the replay after."""
    value = element(metadata={"user_api_key_team_id": "team"})
    ledger.write([decided(value, offset=5), decided(element(id="2"), offset=6)])
    found = ledger.write(
        [
            decided(value, policy(account_from=("user_api_key_team_id",)), offset=5),
            decided(costing("7", id="2"), offset=7),
        ]
    )
    assert outcomes(found) == ["duplicate replayed", "conflict content"]
    assert found[0].receipt is not None
    assert found[0].receipt.billing_account_id == "acct-1"
    assert [row["response_cost_usd"] for row in tables.conflicts()] == [7]


ZERO = element(response_cost=0)
MISSING = element(response_cost=None)
PAID = element()


@pytest.mark.parametrize("together", [True, False])
def test_a_deferral_and_its_receipt_in_any_order_are_the_same_tables(
    *, ledger: ReceiptWriter, migrated_database_url: str, together: bool
) -> None:
    seen = []
    for number, order in enumerate(itertools.permutations([ZERO, PAID, ZERO])):
        source = f"litellm/{number}"
        batch = [decided(value, source=source) for value in order]
        for part in [batch] if together else [[one] for one in batch]:
            ledger.write(part)
        with psycopg.connect(migrated_database_url) as connection:
            seen.append(
                connection.execute(
                    "SELECT r.response_cost_usd, d.reason, d.resolution, d.resolved_at IS NULL"
                    " FROM billing.charge_receipts r JOIN billing.deferred_calls d"
                    " USING (source_system, call_key) WHERE source_system = %s",
                    [source],
                ).fetchall()
            )
    assert len(set(map(tuple, seen))) == 1
    [(cost, reason, resolution, is_open)] = seen[0]
    assert (str(cost), reason, resolution, is_open) == (
        "0.000036",
        "suspicious_zero",
        "callback",
        False,
    )
    assert ledger.open_deferred()[0] == 0


def test_a_call_is_deferred_once_and_a_later_cost_settles_it(
    ledger: ReceiptWriter, tables: Tables
) -> None:
    assert write(ledger, decided(ZERO), decided(ZERO)) == [
        "deferred suspicious_zero",
        "duplicate deferred",
    ]
    assert write(ledger, decided(MISSING)) == ["duplicate deferred"]
    assert ledger.open_deferred()[0] == 1
    assert write(ledger, decided(PAID)) == ["created usage"]
    assert ledger.open_deferred()[0] == 0
    [row] = tables.deferred()
    assert (row["resolution"], row["resolved_at"] is None) == ("callback", False)
    assert len(tables.receipts()) == 1


def test_NOTHING_VANISHES_in_any_order_and_batching(
    ledger: ReceiptWriter, migrated_database_url: str
) -> None:
    """All captures three times over, shuffled and cut at random, twice: the same tables."""
    seen = []
    for seed in (1, 2):
        rng = random.Random(seed)  # noqa: S311 - a test's shuffle
        values = captures.all_elements() * 3
        rng.shuffle(values)
        found: list[str] = []
        while values:
            size = rng.randint(1, 40)
            found += write(ledger, *(decided(value, CAPTURED) for value in values[:size]))
            del values[:size]
        words = Counter(word.split()[0] for word in found)
        lines = Counter(line.verdict for line in captures.expectations())
        assert words["created"] == (lines["RECEIPT"] if seed == 1 else 0)
        assert words["deferred"] == (lines["DEFER"] if seed == 1 else 0)
        assert words["skipped"] == 3 * lines["SKIP"]
        assert words["conflict"] == words["parked"] == 0
        assert words.total() == 3 * lines.total()
        seen.append(content(migrated_database_url))
    assert seen[0] == seen[1]


def test_posting_everything_many_times_changes_nothing_after_the_first(
    ledger: ReceiptWriter, tables: Tables
) -> None:
    values = captures.all_elements()
    ledger.write([decided(value, CAPTURED) for value in values])
    before = tables.snapshot()
    for _ in range(5):
        ledger.write([decided(value, CAPTURED) for value in values * 5])
    assert tables.snapshot() == before
