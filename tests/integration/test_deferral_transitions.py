"""What becomes of a deferral, in the ledger: each step is one of the table, and is written down."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal
from itertools import product
from typing import Any, Final

import psycopg
import pytest
from typer.testing import CliRunner

from charging.decision import decide
from charging.kept import settled_value
from charging.origin import FROM_BREAKDOWN
from charging.outcomes import Decided, Resolution
from charging.settlement import CHARGES, MOVES, Event, State, charged, state_of
from ledger.deferrals import Deferrals, SettlementError
from ledger.receipts import ReceiptWriter
from operator_cli.__main__ import app
from operator_cli.settlement import kept
from schemas.callback import RECONCILER
from schemas.headers import RECEIVED_AT, SETTLED_BY, SETTLED_FROM, SETTLED_NOTE, Headers
from tests.databases.writing import write
from tests.inputs.background import create, ended, read
from tests.inputs.callbacks import decided, element, policy, record
from tests.integration.test_deferrals import waits
from tests.observers.ledger import Ledger as Tables
from tests.waiting import NET_SECONDS, eventually

ZERO: Final = element(response_cost=0)
PAID: Final = element()
BY_HAND: Final[Headers] = [(SETTLED_BY, b"ada"), (SETTLED_NOTE, b"price list")]
Step = tuple[object, ...]


def with_headers(value: bytes, headers: Headers) -> Decided:
    """A record with these headers, decided."""
    taken = record(value, headers=headers)
    return Decided(taken, decide(taken, policy()))


CHARGED: Final = {
    Event.CALLBACK: decided(PAID),
    Event.SPEND_LOG: decided(element(source=RECONCILER)),
    Event.BREAKDOWN: with_headers(PAID, [*BY_HAND, (SETTLED_FROM, FROM_BREAKDOWN)]),
    Event.PERSON: with_headers(PAID, BY_HAND),
}
"""A charge of the call of `ZERO`, by what it is to the deferral."""


def steps(url: str) -> list[Step]:
    """What is written down, the oldest step first."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT from_state, to_state, resolution, person, note"
            " FROM billing.deferral_transitions ORDER BY id"
        ).fetchall()


def resolution(tables: Tables) -> str | None:
    """How the only deferral was closed."""
    [row] = tables.deferred()
    found: str | None = row["resolution"]
    return found


def decide_by_hand(url: str, event: Event, note: str) -> str:
    """What a person does with the deferral of the call."""
    with closing(Deferrals(url)) as deferrals:
        return deferrals.decide(deferrals.find("call-1", event), event, "ada", note)


@pytest.mark.parametrize("event", CHARGED, ids=lambda one: one.name.lower())
def test_a_charge_settles_an_open_deferral_and_its_receipt_says_where_the_figure_is_from(
    event: Event, ledger: ReceiptWriter, migrated_database_url: str, tables: Tables
) -> None:
    write(ledger, decided(ZERO))
    assert steps(migrated_database_url) == []
    assert write(ledger, CHARGED[event]) == ["created usage"]
    who = ("ada", "price list") if event in {Event.BREAKDOWN, Event.PERSON} else (None, None)
    reached = MOVES[State.OPEN, event]
    assert resolution(tables) == reached
    assert steps(migrated_database_url) == [("open", "settled", reached, *who)]
    source = tables.receipt()["cost_source"]
    assert CHARGES[source] is event
    # The other way round it is closed when it is written, with the same resolution.
    write(ledger, CHARGED[event], decided(ZERO))
    assert len(steps(migrated_database_url)) == 1


@pytest.mark.parametrize("event", CHARGED, ids=lambda one: one.name.lower())
def test_a_deferral_behind_its_receipt_is_settled_at_once(
    event: Event, ledger: ReceiptWriter, migrated_database_url: str, tables: Tables
) -> None:
    write(ledger, CHARGED[event])
    write(ledger, decided(ZERO))
    assert resolution(tables) == MOVES[State.OPEN, event]
    assert [one[:3] for one in steps(migrated_database_url)] == [
        ("open", "settled", MOVES[State.OPEN, event])
    ]


def test_a_result_settles_its_order_and_a_failure_writes_it_off(
    ledger: ReceiptWriter, migrated_database_url: str
) -> None:
    write(ledger, decided(create()))
    write(ledger, decided(read()))
    assert steps(migrated_database_url) == [("open", "settled", "result", None, None)]


def test_a_response_that_failed_is_written_off(
    ledger: ReceiptWriter, migrated_database_url: str
) -> None:
    write(ledger, decided(create()))
    write(ledger, decided(ended()))
    assert steps(migrated_database_url) == [("open", "written_off", "no_charge", None, None)]


@pytest.mark.parametrize("event", CHARGED, ids=lambda one: one.name.lower())
def test_a_charge_that_contradicts_a_waiver_reopens_it(
    event: Event, ledger: ReceiptWriter, migrated_database_url: str, tables: Tables
) -> None:
    write(ledger, decided(ZERO))
    assert decide_by_hand(migrated_database_url, Event.WAIVER, "our own test") == "waived"
    assert ledger.open_deferred() == (0, 0.0)
    assert write(ledger, CHARGED[event]) == ["created usage"]
    assert resolution(tables) == "reopened"
    assert steps(migrated_database_url) == [
        ("open", "written_off", "waived", "ada", "our own test"),
        ("written_off", "reopened", "reopened", None, "was waived by ada: our own test"),
    ]
    # Neither its own repetition nor a member of the release before closes what a person decides.
    write(ledger, CHARGED[event], decided(ZERO))
    assert resolution(tables) == "reopened"
    count, seconds = ledger.open_deferred()
    assert count == 1
    assert seconds >= 0
    with closing(Deferrals(migrated_database_url)) as deferrals:
        listed = deferrals.listed(settled=False, waiting=False, limit=10).rows
        assert [(row["resolution"], row["by"]) for row in listed] == [("reopened", "ada")]
        with pytest.raises(SettlementError, match="accept the charge"):
            deferrals.find("call-1", Event.PERSON)


@pytest.mark.parametrize(
    ("event", "reached", "state"),
    [(Event.ACCEPTANCE, "accepted", "settled"), (Event.WAIVER, "upheld", "upheld")],
)
def test_a_person_decides_what_was_reopened_and_once_only(
    *,
    event: Event,
    reached: str,
    state: str,
    ledger: ReceiptWriter,
    migrated_database_url: str,
    tables: Tables,
) -> None:
    write(ledger, decided(ZERO))
    decide_by_hand(migrated_database_url, Event.WAIVER, "our own test")
    write(ledger, decided(PAID))
    with closing(Deferrals(migrated_database_url)) as deferrals:
        seen = deferrals.find("call-1", event)
    assert decide_by_hand(migrated_database_url, event, "looked at") == reached
    assert steps(migrated_database_url)[2:] == [("reopened", state, reached, "ada", "looked at")]
    assert ledger.open_deferred() == (0, 0.0)
    write(ledger, decided(PAID), decided(ZERO))
    assert resolution(tables) == reached
    assert len(tables.receipts()) == 1
    with closing(Deferrals(migrated_database_url)) as deferrals:
        for closed in (Event.ACCEPTANCE, Event.WAIVER, Event.PERSON):
            with pytest.raises(SettlementError, match=f"already closed: {reached}"):
                deferrals.find("call-1", closed)
        with pytest.raises(SettlementError, match="in the meantime"):
            deferrals.decide(seen, event, "bob", "too late")


def test_no_charge_is_accepted_before_one_has_come(
    ledger: ReceiptWriter, migrated_database_url: str
) -> None:
    write(ledger, decided(ZERO))
    with closing(Deferrals(migrated_database_url)) as deferrals:
        with pytest.raises(SettlementError, match="no charge has come"):
            deferrals.find("call-1", Event.ACCEPTANCE)
        call = deferrals.find("call-1", Event.WAIVER)
        with pytest.raises(SettlementError, match="in the meantime"):
            deferrals.decide(call, Event.ACCEPTANCE, "ada", "nothing to accept")


ONE_OF: Final = {
    State.OPEN: None,
    State.SETTLED: "callback",
    State.WRITTEN_OFF: "waived",
    State.REOPENED: "reopened",
    State.UPHELD: "upheld",
}


@pytest.mark.parametrize(("state", "reached"), list(product(State, Resolution)))
def test_whoever_writes_it_the_ledger_takes_the_steps_of_the_table_alone(
    state: State, reached: Resolution, ledger: ReceiptWriter, migrated_database_url: str
) -> None:
    write(ledger, decided(ZERO))
    allowed = reached in {to for (begin, _), to in MOVES.items() if begin is state}
    with psycopg.connect(migrated_database_url) as connection:
        connection.execute("ALTER TABLE billing.deferred_calls DISABLE TRIGGER record_moves")
        given = "UPDATE billing.deferred_calls SET resolved_at = now(), resolution = %s"
        if state is not State.OPEN:
            connection.execute(given, [ONE_OF[state]])
        connection.execute("ALTER TABLE billing.deferred_calls ENABLE TRIGGER record_moves")
    with psycopg.connect(migrated_database_url) as connection:
        if allowed or reached == ONE_OF[state]:
            connection.execute(given, [reached])
        else:
            with pytest.raises(psycopg.errors.CheckViolation, match="transition_is_allowed"):
                connection.execute(given, [reached])
    expected = [(state, state_of(reached), reached)] if allowed else []
    assert [one[:3] for one in steps(migrated_database_url)] == expected


def test_the_ledger_names_states_and_resolutions_as_the_table_does(
    migrated_database_url: str,
) -> None:
    with psycopg.connect(migrated_database_url) as connection:
        for one in (None, *Resolution):
            found = connection.execute("SELECT billing.deferral_state(%s)", [one]).fetchone()
            assert found == (state_of(one),)
        for source in (*CHARGES, "one of a later release"):
            found = connection.execute("SELECT billing.resolution_of(%s)", [source]).fetchone()
            assert found == (charged(None, source),)


@pytest.mark.parametrize("state", sorted(set(State) - {State.OPEN}))
def test_a_closed_deferral_is_never_simply_open_again(
    state: State, ledger: ReceiptWriter, migrated_database_url: str
) -> None:
    write(ledger, decided(ZERO))
    with psycopg.connect(migrated_database_url) as connection:
        connection.execute("ALTER TABLE billing.deferred_calls DISABLE TRIGGER record_moves")
        connection.execute(
            "UPDATE billing.deferred_calls SET resolved_at = now(), resolution = %s",
            [ONE_OF[state]],
        )
        connection.execute("ALTER TABLE billing.deferred_calls ENABLE TRIGGER record_moves")
    with (
        psycopg.connect(migrated_database_url) as connection,
        pytest.raises(psycopg.errors.NotNullViolation),
    ):
        connection.execute(
            "UPDATE billing.deferred_calls SET resolved_at = NULL, resolution = NULL"
        )


@pytest.mark.parametrize("change", ["UPDATE {} SET note = ''", "DELETE FROM {}", "TRUNCATE {}"])
def test_what_is_written_down_of_a_step_never_changes(
    change: str, ledger: ReceiptWriter, migrated_database_url: str
) -> None:
    write(ledger, decided(ZERO))
    write(ledger, decided(PAID))
    with (
        psycopg.connect(migrated_database_url) as connection,
        pytest.raises(psycopg.errors.RestrictViolation),
    ):
        connection.execute(change.format("billing.deferral_transitions").encode())


def test_what_the_ledger_keeps_of_a_call_is_its_receipt_but_for_the_cost(
    ledger: ReceiptWriter, migrated_database_url: str, tables: Tables
) -> None:
    """A call of 30 days ago, as its callback was: end, run, account, team, tokens, tags."""
    received = b"2026-10-23T12:00:00.000+00:00"
    value = element(
        response_cost=0, startTime=1_792_756_700.25, endTime=1_792_756_790.5, request_tags=["a"]
    )
    write(ledger, with_headers(value, [(RECEIVED_AT, received)]))
    with closing(Deferrals(migrated_database_url)) as deferrals:
        remembered = kept(deferrals.find("call-1", Event.PERSON))
    assert remembered is not None
    settled = settled_value(remembered.value or b"", Decimal("0.0021"))
    again = with_headers(settled, [*remembered.headers, *BY_HAND])  # type: ignore[list-item]
    whole = with_headers(
        settled_value(value, Decimal("0.0021")), [(RECEIVED_AT, received), *BY_HAND]
    )
    assert again.decision == whole.decision
    assert write(ledger, again) == ["created usage"]
    receipt = tables.receipt()
    assert (receipt["cost_source"], receipt["cost_text"]) == ("operator", "0.0021")
    assert receipt["occurred_at"].timestamp() == 1_792_756_790.5
    assert resolution(tables) == "settled"


def test_the_commands_list_decide_and_show_what_a_charge_has_reopened(
    ledger: ReceiptWriter, migrated_database_url: str
) -> None:
    environment = {"DATABASE_URL": migrated_database_url}

    def told(*arguments: str) -> Any:  # noqa: ANN401 - whatever the command prints as JSON
        done = CliRunner().invoke(app, ["deferred", *arguments, "--json"], env=environment)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    write(ledger, decided(ZERO))
    nothing = CliRunner().invoke(app, ["deferred", "history", "call-1", "--csv"], env=environment)
    assert nothing.stdout.splitlines() == ["at,from,to,resolution,by,note,application"]
    told("waive", "call-1", "--note", "ours", "--by", "ada")
    assert told("list") == []
    write(ledger, decided(PAID))
    [listed] = told("list")
    assert (listed["resolution"], listed["by"], listed["note"]) == ("reopened", "ada", "ours")
    [done] = told("accept", "call-1", "--note", "theirs", "--by", "bob")
    assert (done["done"], done["by"], done["note"]) == ("accepted", "bob", "theirs")
    assert told("list") == []
    assert [(step["from"], step["to"], step["by"]) for step in told("history", "call-1")] == [
        ("open", "written_off", "ada"),
        ("written_off", "reopened", None),
        ("reopened", "settled", "bob"),
    ]
    [step] = [step["application"] for step in told("history", "call-1") if step["by"] is None]
    assert step.startswith("billing-consumer")


def test_a_waiver_in_the_same_moment_as_the_charge_is_reopened_by_it(
    ledger: ReceiptWriter, migrated_database_url: str, tables: Tables
) -> None:
    write(ledger, decided(ZERO))
    with psycopg.connect(migrated_database_url) as person, ThreadPoolExecutor() as pool:
        person.execute(
            "UPDATE billing.deferred_calls SET resolved_at = now(), resolution = 'waived'"
        )
        charging = pool.submit(write, ledger, decided(PAID))
        eventually(lambda: waits(migrated_database_url), "the charge to wait for the waiver")
        person.commit()
        assert charging.result(NET_SECONDS) == ["created usage"]
    assert resolution(tables) == "reopened"
