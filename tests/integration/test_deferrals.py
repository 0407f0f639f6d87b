"""Deferrals and the receipts that close them: the same whoever comes first, and at once too."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from charging.decision import decide
from charging.outcomes import Decided, Deferred
from charging.settlement import Event
from ledger.deferrals import Deferrals, OpenCall, SettlementError
from ledger.receipts import ReceiptWriter
from schemas.headers import SETTLED_BY, SETTLED_NOTE
from tests.databases.writing import ROLE, write
from tests.inputs.callbacks import decided, element, policy, record
from tests.observers.ledger import Ledger as Tables
from tests.processes import room
from tests.waiting import NET_SECONDS, eventually

ROOT = Path(__file__).parents[2]
ZERO = element(response_cost=0)
PAID = element()
OTHER = element(response_cost=0, id="other", litellm_call_id="other")


def settled() -> Decided:
    """The cost of a call as `deferred settle` sends it."""
    taken = record(PAID, headers=[(SETTLED_BY, b"ada"), (SETTLED_NOTE, b"price list")])
    return Decided(taken, decide(taken, policy()))


def resolutions(tables: Tables) -> list[tuple[object, ...]]:
    """How each deferral stands."""
    return [
        (row["resolution"], row["resolved_by"], row["resolution_note"], row["resolved_at"] is None)
        for row in tables.deferred()
    ]


def raced(url: str, receipt: Decided) -> None:
    """Write the deferral of `ZERO` and a receipt of it so that neither sees the other.

    The receipt's transaction has looked for deferrals already and waits for another key while the
    deferral is written: what two members do when a call's callbacks are on two partitions.
    """
    with closing(ReceiptWriter(url, ROLE)) as first, closing(ReceiptWriter(url, ROLE)) as second:
        with psycopg.connect(url) as holder:
            holder.execute(
                "INSERT INTO billing.deferred_calls (source_system, call_key, response_id, reason,"
                " run_id, kafka_topic, kafka_partition, kafka_offset, occurred_at)"
                " VALUES ('litellm', %s, '', 'missing_cost', '', '', 0, 0, now())",
                [key_of(OTHER)],
            )
            writer = threading.Thread(target=write, args=(first, receipt, decided(OTHER)))
            writer.start()
            eventually(lambda: waits(url), "the receipt's transaction to wait", 30)
            assert write(second, decided(ZERO)) == ["deferred suspicious_zero"]
            holder.rollback()
        writer.join(NET_SECONDS)
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM billing.deferred_calls WHERE response_id = 'other'")


def key_of(value: bytes) -> str:
    """The call key of an element."""
    decision = decided(value).decision
    assert isinstance(decision, Deferred)
    return decision.call_key


def waits(url: str, application: str = "billing-consumer") -> bool:
    """Whether a session of the consumer, or of `application`, waits for another transaction."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE starts_with(application_name, %s)"
            " AND datname = current_database() AND wait_event_type = 'Lock'",
            [application],
        ).fetchone()
    return row == (1,)


def command(url: str, *arguments: str) -> str:
    """What one of the consumer's commands prints."""
    done = room.run({**os.environ, "DATABASE_URL": url}, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_gauge_list_and_report_agree_after_a_race(
    ledger: ReceiptWriter, migrated_database_url: str, tables: Tables
) -> None:
    raced(migrated_database_url, decided(PAID))
    assert resolutions(tables) == [(None, None, None, True)], "there was no race"
    assert ledger.open_deferred() == (0, 0.0)
    assert "none" in command(migrated_database_url, "deferred", "list")
    assert "none" in command(migrated_database_url, "report", "--table", "deferred")
    assert "callback" in command(migrated_database_url, "deferred", "list", "--settled")


def test_a_call_with_a_receipt_is_neither_settled_nor_waived(
    migrated_database_url: str, tables: Tables
) -> None:
    raced(migrated_database_url, decided(PAID))
    [row] = tables.deferred()
    call = OpenCall(row["id"], row["call_key"], row["run_id"], "", 0, 0, None)
    with closing(Deferrals(migrated_database_url)) as deferrals:
        with pytest.raises(SettlementError, match="already closed: callback"):
            deferrals.find("call-1", Event.WAIVER)
        with pytest.raises(SettlementError, match="in the meantime"):
            deferrals.decide(call, Event.WAIVER, "ada", "our own test")
    assert resolutions(tables) == [(None, None, None, True)]


def test_who_waives_a_call_while_another_closes_it_is_told_that_somebody_was_faster(
    ledger: ReceiptWriter, migrated_database_url: str, tables: Tables
) -> None:
    write(ledger, decided(ZERO))
    with (
        closing(Deferrals(migrated_database_url)) as deferrals,
        psycopg.connect(migrated_database_url) as other,
        ThreadPoolExecutor() as pool,
    ):
        call = deferrals.find("call-1", Event.WAIVER)
        other.execute(
            "UPDATE billing.deferred_calls SET resolved_at = now(), resolution = 'settled'"
        )
        waiving = pool.submit(deferrals.decide, call, Event.WAIVER, "ada", "our own test")
        eventually(
            lambda: waits(migrated_database_url, "billing-operator"), "the second to wait", 30
        )
        other.commit()
        with pytest.raises(SettlementError, match="in the meantime"):
            waiving.result(NET_SECONDS)
    assert resolutions(tables) == [("settled", None, None, False)]


@pytest.mark.parametrize("touch", [ZERO, PAID], ids=["deferral", "receipt"])
def test_the_next_callback_of_the_call_closes_what_a_race_left_open(
    ledger: ReceiptWriter, migrated_database_url: str, tables: Tables, touch: bytes
) -> None:
    raced(migrated_database_url, decided(PAID))
    [became] = write(ledger, decided(touch))
    assert became.startswith("duplicate")
    assert resolutions(tables) == [("callback", None, None, False)]


def test_a_receipt_from_a_callback_is_not_credited_to_who_settles_later(
    ledger: ReceiptWriter, migrated_database_url: str, tables: Tables
) -> None:
    raced(migrated_database_url, decided(PAID))
    assert write(ledger, settled()) == ["duplicate receipt"]
    assert resolutions(tables) == [("callback", None, None, False)]


@pytest.mark.parametrize("deferral_first", [True, False])
def test_a_deferral_and_its_settlement_in_one_batch_keep_who_and_why(
    *, ledger: ReceiptWriter, tables: Tables, deferral_first: bool
) -> None:
    """A rebuild takes months of callbacks in batches: both are in the same one."""
    batch = [decided(ZERO), settled()]
    write(ledger, *(batch if deferral_first else reversed(batch)))
    assert resolutions(tables) == [("settled", "ada", "price list", False)]


def test_a_deferral_after_a_settled_receipt_is_settled(
    ledger: ReceiptWriter, tables: Tables
) -> None:
    """Nobody knows any more who it was: that stands in the deferral alone."""
    write(ledger, settled())
    assert write(ledger, decided(ZERO)) == ["deferred suspicious_zero"]
    assert resolutions(tables) == [("settled", None, None, False)]
