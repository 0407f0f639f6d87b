"""Completed runs: what they have cost is kept when they end, and again whenever that changes."""

import json
import threading
from contextlib import closing, suppress
from decimal import Decimal
from uuid import UUID

import psycopg
from psycopg.errors import LockNotAvailable
from typer.testing import CliRunner

from charging.settlement import Event
from ledger.corrections import Corrections
from ledger.credit_events import CreditEvents
from ledger.deferrals import Deferrals
from ledger.receipts import ReceiptWriter
from operator_cli.__main__ import app
from tests.databases.writing import ROLE, write
from tests.integration.completed_runs import (
    call,
    completed,
    make_due,
    sum_up,
    totals,
    unit,
)
from tests.integration.corrected import correct
from tests.observers.ledger import Ledger as Tables
from tests.waiting import NET_SECONDS, eventually


def told(url: str, *names: str) -> list[tuple[object, ...]]:
    """Some columns of what was told."""
    return [tuple(row[name] for name in names) for row in totals(url)]


def figures(url: str) -> list[tuple[object, ...]]:
    return told(url, "run_id", "revision", "calls", "charged_usd", "charged_credits", "open_calls")


def test_a_run_is_summed_up_once_when_its_last_calls_had_time_to_come(
    ledger: ReceiptWriter, migrated_database_url: str
) -> None:
    url = migrated_database_url
    write(ledger, call("trip", "a"), call("trip", "b", "0.1"), call("other", "c", "7"))
    assert sum_up(url) == []
    write(ledger, completed("trip"), call("trip", "late", "0.000123456789012345678901"))
    # Not yet: callbacks are on their way.
    assert sum_up(url, grace=600) == []
    assert sum_up(url) == ["trip"]
    usd = Decimal("0.350123456789012345678901")
    assert figures(url) == [("trip", 1, 3, usd, 3_501_235, 0)]
    # Nothing has changed: nobody is told anything, however often it is looked at.
    write(ledger, completed("other"))
    assert sum_up(url) == ["other"]
    assert sum_up(url) == []
    with psycopg.connect(url) as admin:
        admin.execute("UPDATE billing.completed_runs SET due_at = now() - interval '1 second'")
    assert sum_up(url) == ["other", "trip"]
    assert figures(url)[1:] == [("trip", 1, 3, usd, 3_501_235, 0)]


def test_a_run_without_calls_is_summed_up_to_nothing(
    ledger: ReceiptWriter, migrated_database_url: str
) -> None:
    write(ledger, completed("idle"))
    sum_up(migrated_database_url)
    assert figures(migrated_database_url) == [("idle", 1, 0, Decimal(0), 0, 0)]


def test_a_late_call_makes_a_further_revision(
    ledger: ReceiptWriter, migrated_database_url: str
) -> None:
    url = migrated_database_url
    write(ledger, call("trip", "a"), completed("trip"))
    sum_up(url)
    write(ledger, call("trip", "b"), call("other", "b"))
    # What comes together is told together, and it may still come.
    assert sum_up(url) == []
    write(ledger, call("trip", "c"))
    assert make_due(url) == ["trip"]
    assert sum_up(url) == ["trip"]
    assert figures(url)[1:] == [("trip", 2, 3, Decimal("0.75"), 7_500_000, 0)]
    # A callback that LiteLLM sends again is no news.
    write(ledger, call("trip", "c"))
    assert make_due(url) == []


def test_calls_without_a_receipt_are_named_until_they_have_one(
    ledger: ReceiptWriter, migrated_database_url: str
) -> None:
    url = migrated_database_url
    known = {"litellm_call_id": "trip-a"}
    later = {"finished_at": "2026-11-30T10:00:00Z"}
    nowhere = unit("trip", litellm_call_id="nowhere", model="big", **later)
    write(ledger, unit("trip", **known), nowhere)
    # It names who pays for the run, and no call.
    write(ledger, unit("trip", billing_account_id="acme"))
    write(ledger, call("trip", "a"), call("trip", "zero", "0"), completed("trip"))
    sum_up(url)
    [first] = totals(url)
    assert (first["calls"], first["open_calls"]) == (1, 2)
    assert first["open"] == [
        {
            "reason": "suspicious_zero",
            "litellm_call_id": "trip-zero",
            "response_id": "trip-zero",
            "model": "gpt-4o-mini",
        },
        {
            "reason": "no_callback",
            "litellm_call_id": "nowhere",
            "response_id": None,
            "model": "big",
        },
    ]
    # One is written off by a person, the other comes after all.
    with closing(Deferrals(url)) as deferrals:
        waived = deferrals.find("trip-zero", Event.WAIVER)
        deferrals.decide(waived, Event.WAIVER, "ada", "a test")
    assert make_due(url) == ["trip"]
    sum_up(url)
    write(ledger, call("trip", "b", id="nowhere", litellm_call_id="nowhere"))
    assert make_due(url) == ["trip"]
    sum_up(url)
    assert figures(url)[1:] == [
        ("trip", 2, 1, Decimal("0.25"), 2_500_000, 1),
        ("trip", 3, 2, Decimal("0.5"), 5_000_000, 0),
    ]


def test_an_event_names_a_hundred_open_calls_and_counts_all(
    ledger: ReceiptWriter, migrated_database_url: str
) -> None:
    units = [unit("trip", litellm_call_id=f"call-{number}") for number in range(130)]
    write(ledger, *units, completed("trip"))
    sum_up(migrated_database_url)
    [row] = totals(migrated_database_url)
    assert (row["open_calls"], len(row["open"])) == (130, 100)


def test_a_correction_is_told_with_its_run(
    ledger: ReceiptWriter, migrated_database_url: str, tables: Tables
) -> None:
    url = migrated_database_url
    write(ledger, call("trip", "a"), completed("trip"))
    sum_up(url)
    [row] = tables.receipts()
    with closing(Corrections(url, ROLE, ())) as kept:
        correct(kept, UUID(str(row["id"])), "-0.05")
    assert sum_up(url) == ["trip"]
    assert figures(url)[1:] == [("trip", 2, 1, Decimal("0.2"), 2_000_000, 0)]
    assert told(url, "corrections") == [(0,), (1,)]


def test_a_run_that_ends_again_is_told_again(
    ledger: ReceiptWriter, migrated_database_url: str
) -> None:
    url = migrated_database_url
    write(ledger, call("trip", "a"), completed("trip", finished_at="2026-11-22T10:00:00Z"))
    sum_up(url)
    # An earlier end, told later, as by a slower program: the run ended when the last one said so.
    write(ledger, completed("trip", finished_at="2026-11-22T09:00:00Z"))
    assert sum_up(url) == ["trip"]
    write(ledger, completed("trip", attempt=1, finished_at="2026-11-22T11:00:00Z"))
    assert sum_up(url, grace=600) == []
    assert sum_up(url) == ["trip"]
    assert [str(at)[:16] for (at,) in told(url, "completed_at")] == [
        "2026-11-22 10:00",
        "2026-11-22 11:00",
    ]


def test_a_unit_that_is_sent_twice_completes_once(
    ledger: ReceiptWriter, migrated_database_url: str
) -> None:
    one = completed("trip")
    write(ledger, one)
    sum_up(migrated_database_url)
    assert write(ledger, one) == ["unit known"]
    assert sum_up(migrated_database_url) == []


def test_calls_that_name_no_run_belong_to_none(
    ledger: ReceiptWriter, migrated_database_url: str, tables: Tables
) -> None:
    """Their run id is their call key, which anybody may choose."""
    write(ledger, call("", "a", metadata={}), call("", "b", "0", metadata={}))
    keys = [row["run_id"] for row in (*tables.receipts(), *tables.deferred())]
    assert len(keys) == 2
    write(ledger, *(completed(str(key)) for key in keys))
    sum_up(migrated_database_url)
    told = figures(migrated_database_url)
    assert [(calls, usd, open_calls) for _, _, calls, usd, _, open_calls in told] == [
        (0, Decimal(0), 0),
        (0, Decimal(0), 0),
    ]


def test_a_run_is_summed_up_behind_what_is_being_written(
    migrated_database_url: str, ledger: ReceiptWriter
) -> None:
    """Without the lock the late call would be in no event, and nothing would say so."""
    url = migrated_database_url
    write(ledger, call("trip", "a"), completed("trip"))
    sum_up(url)
    with psycopg.connect(url) as writer, closing(CreditEvents(url, ROLE)) as events:
        writer.execute("UPDATE billing.completed_runs SET due_at = now()")
        writer.commit()
        assert list(events.due_runs(0)) == ["trip"]
        writer.execute(
            "INSERT INTO billing.deferred_calls (source_system, call_key, response_id, reason,"
            " run_id, kafka_topic, kafka_partition, kafka_offset, occurred_at)"
            " VALUES ('litellm', 'late', 'late', 'missing_cost', 'trip', 't', 0, 1, now())"
        )
        summing_up = threading.Thread(target=sum_up_when_free, args=(events,))
        summing_up.start()
        eventually(lambda: somebody_waits(url), "whoever sums the run up to wait for the writer")
        writer.commit()
        summing_up.join(NET_SECONDS)
    assert figures(url)[1:] == [("trip", 2, 1, Decimal("0.25"), 2_500_000, 1)]


def sum_up_when_free(events: CreditEvents) -> None:
    """Sum the run up once nobody locks it, however long that takes."""
    for _ in range(100):
        with suppress(LockNotAvailable):
            events.sum_up_run("trip")
            return


def somebody_waits(url: str) -> bool:
    """Whether a session waits for a lock."""
    with psycopg.connect(url) as admin:
        found = admin.execute(
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        )
        return found.fetchone() == (True,)


def test_a_run_that_was_taken_and_not_summed_up_is_due_again(
    ledger: ReceiptWriter, migrated_database_url: str
) -> None:
    url = migrated_database_url
    write(ledger, call("trip", "a"), completed("trip"))
    with closing(CreditEvents(url, ROLE)) as events:
        assert list(events.due_runs(0)) == ["trip"]
        # Taken by a process that ends: nobody else takes it for a minute, and then somebody does.
        assert list(events.due_runs(0)) == []
    assert make_due(url) == ["trip"]
    assert sum_up(url) == ["trip"]


def test_a_run_that_costs_more_than_an_event_can_say_is_told_to_nobody_and_others_are(
    ledger: ReceiptWriter, migrated_database_url: str
) -> None:
    url = migrated_database_url
    # No account could pay both.
    vast = (call("vast", who, "90000000", markup="10000", end_user=who) for who in ("a", "b"))
    assert write(ledger, *vast, completed("vast")) == ["created usage"] * 2 + ["unit new"]
    write(ledger, call("trip", "a"), completed("trip"))
    with closing(CreditEvents(url, ROLE)) as events:
        told = {run: events.sum_up_run(run) for run in events.due_runs(0)}
    assert told == {"vast": False, "trip": True}
    assert [run for run, *_ in figures(url)] == ["trip"]
    assert make_due(url) == []


def test_billing_run_says_what_others_were_told(
    ledger: ReceiptWriter, migrated_database_url: str
) -> None:
    url = migrated_database_url
    write(ledger, call("trip", "a"), unit("trip", litellm_call_id="nowhere"))
    assert "ended" not in billing_run(url)
    write(ledger, completed("trip", finished_at="2026-11-22T10:00:00Z"))
    assert "ended at 2026-11-22 10:00:00 UTC; other teams are not told yet" in billing_run(url)
    sum_up(url)
    said = "other teams were told 0.25 USD for 1 calls, with 1 open, in revision 1"
    assert said in billing_run(url)
    told = json.loads(billing_run(url, "--json"))["completion"]
    assert (told["revision"], told["charged USD"], told["open"]) == (1, "0.25", 1)


def billing_run(url: str, *options: str) -> str:
    """What `billing run` says of the run, its remarks too."""
    environment = {"DATABASE_URL": url, "KAFKA_BOOTSTRAP_SERVERS": ""}
    done = CliRunner().invoke(app, ("run", "trip", *options), env=environment)
    assert done.exit_code == 0, done.output
    return done.stdout + ("" if options else done.stderr)
