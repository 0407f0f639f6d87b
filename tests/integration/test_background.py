"""Background responses in the ledger: one charge each, whoever reads, whatever comes first."""

import itertools
import threading
from contextlib import closing
from decimal import Decimal

import psycopg
import pytest

from charging.decision import decide
from charging.kept import settled_value
from charging.outcomes import Decided
from ledger.gap import Published
from ledger.receipts import ReceiptWriter
from schemas.headers import SETTLED_BY, SETTLED_CALL_KEY, SETTLED_NOTE
from schemas.receipt import Receipt
from tests.databases.writing import ROLE, outcomes, write
from tests.inputs.background import changed, create, ended, finished, read, response
from tests.inputs.callbacks import decided, element, policy, record
from tests.observers.ledger import Ledger as Tables
from tests.observers.ledger import Row
from tests.waiting import NET_SECONDS, eventually

COST = "0.000044999999999999996"


def settlement(event: bytes, row: Row, cost: str = "0.0002") -> Decided:
    """What `deferred settle` sends for a deferral of `event`."""
    headers = [
        (SETTLED_BY, b"ada"),
        (SETTLED_NOTE, b"by hand"),
        (SETTLED_CALL_KEY, str(row["call_key"]).encode()),
    ]
    taken = record(settled_value(event, Decimal(cost)), headers=headers)
    return Decided(taken, decide(taken, policy()))


def deferrals(tables: Tables) -> list[tuple[object, object]]:
    """Reason and resolution of each deferral, in the order in which they came."""
    rows = sorted(tables.deferred(), key=lambda row: row["id"])
    return [(row["reason"], row["resolution"]) for row in rows]


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 0, 2, 3), (1, 2, 3, 0)], ids=str)
@pytest.mark.parametrize("batched", [False, True])
def test_04_a_response_is_charged_once_to_who_ordered_it(
    *, ledger: ReceiptWriter, tables: Tables, order: tuple[int, ...], batched: bool
) -> None:
    made = [create(), read(), read(), read()]
    events = [decided(made[number]) for number in order]
    became = write(ledger, *events) if batched else [write(ledger, one)[0] for one in events]
    assert became.count("created usage") == 1
    row = tables.receipt()
    assert row["cost_text"] == COST
    assert (row["run_id"], row["attempt"], row["billing_account_id"]) == ("run-bg", 1, "acme")
    assert (row["sub_agent_id"], row["tags"], row["marks"]) == ("writer", ["night"], [])
    assert all(resolution for _, resolution in deferrals(tables))
    assert ledger.open_deferred() == (0, 0.0)
    # The same again: nothing changes, and the record that wrote the receipt publishes it again.
    before = tables.snapshot()
    again = ledger.write(events)
    assert outcomes(again).count("duplicate replayed") == 1
    assert [each.receipt.id for each in again if each.receipt] == [row["id"]]
    assert tables.snapshot() == before


def test_a_receipt_that_is_published_again_is_the_one_of_the_ledger(ledger: ReceiptWriter) -> None:
    first, ordered = decided(read()), decided(create())
    ledger.write([first])
    [made] = ledger.write([ordered])
    [again] = ledger.write([ordered])
    assert (made.outcome, again.outcome, again.reason) == ("created", "duplicate", "replayed")
    assert isinstance(made.receipt, Receipt)
    assert made.receipt == again.receipt
    [late] = ledger.write([first])
    assert (late.outcome, late.reason, late.receipt) == ("duplicate", "receipt", None)


def test_what_waits_is_no_deferral_for_a_person_before_a_day(
    ledger: ReceiptWriter, migrated_database_url: str
) -> None:
    assert write(ledger, decided(create())) == ["deferred awaiting_result"]
    assert ledger.open_deferred() == (0, 0.0)
    waiting, oldest = ledger.waiting_responses()
    assert waiting == 1
    assert oldest < NET_SECONDS
    with psycopg.connect(migrated_database_url) as connection:
        connection.execute(
            "UPDATE billing.deferred_calls SET deferred_at = now() - interval '2 days'"
        )
    assert ledger.waiting_responses()[1] > 86_400
    assert ledger.open_deferred()[0] == 0


def test_two_members_that_each_hold_one_event_make_one_receipt(
    migrated_database_url: str, ledger: ReceiptWriter, tables: Tables
) -> None:
    """The second waits until the first has ended: else both would let their event wait."""
    other_call = decided(element(response_cost=0, id="other", litellm_call_id="other"))
    became: list[list[str]] = []
    with closing(ReceiptWriter(migrated_database_url, ROLE)) as other:
        with psycopg.connect(migrated_database_url) as holder:
            # The first has looked for reads already when it waits for this row.
            holder.execute(
                "INSERT INTO billing.deferred_calls (source_system, call_key, response_id, reason,"
                " run_id, kafka_topic, kafka_partition, kafka_offset, occurred_at)"
                " VALUES ('litellm', 'other|other', '', 'missing_cost', '', '', 0, 0, now())"
            )
            batches = [(ledger, [decided(create()), other_call]), (other, [decided(read())])]
            writers = [
                threading.Thread(target=lambda at=at: became.append(write(at[0], *at[1])))
                for at in batches
            ]
            writers[0].start()
            eventually(lambda: waiting(migrated_database_url) == 1, "the first to wait")
            writers[1].start()
            eventually(
                lambda: waiting(migrated_database_url) == 2 or became, "the second to wait or end"
            )
            holder.rollback()
        for writer in writers:
            writer.join(NET_SECONDS)
    assert "created usage" in itertools.chain(*became)
    assert tables.receipt()["run_id"] == "run-bg"
    assert deferrals(tables)[0] == ("awaiting_result", "result")


def waiting(url: str) -> int:
    """How many sessions of the consumer wait for a lock."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND starts_with(application_name, 'billing-consumer') AND wait_event_type = 'Lock'"
        ).fetchone()
    return int(row[0]) if row else 0


def test_a_create_that_is_settled_by_hand_takes_no_result_any_more(
    ledger: ReceiptWriter, tables: Tables
) -> None:
    ordered = create()
    write(ledger, decided(ordered))
    [row] = tables.deferred()
    assert write(ledger, settlement(ordered, row)) == ["created usage"]
    assert write(ledger, decided(read())) == ["deferred ambiguous_read"]
    assert deferrals(tables) == [("awaiting_result", "settled"), ("ambiguous_read", None)]
    receipt = tables.receipt()
    assert (receipt["run_id"], receipt["cost_source"]) == ("run-bg", "operator")


def test_a_settlement_that_comes_after_the_result_charges_nothing_more(
    ledger: ReceiptWriter, tables: Tables
) -> None:
    ordered = create()
    write(ledger, decided(ordered))
    [row] = tables.deferred()
    write(ledger, decided(read()))
    assert write(ledger, settlement(ordered, row)) == ["conflict content"]
    assert tables.receipt()["cost_text"] == COST
    assert len(tables.conflicts()) == 1


def test_a_read_that_is_settled_by_hand_does_not_wait_for_its_create(
    ledger: ReceiptWriter, tables: Tables
) -> None:
    shown = read()
    write(ledger, decided(shown))
    [row] = tables.deferred()
    assert (row["reason"], str(row["suggested_cost_usd"])) == ("awaiting_create", COST)
    assert write(ledger, settlement(shown, row, COST)) == ["created usage"]
    assert write(ledger, decided(read()), decided(create())) == [
        "duplicate receipt",
        "deferred awaiting_result",
    ]
    assert [reason for reason, resolution in deferrals(tables) if not resolution] == [
        "awaiting_result"
    ]
    assert tables.receipt()["cost_text"] == COST


def test_a_second_response_with_the_same_usage_can_be_settled_beside_the_first(
    ledger: ReceiptWriter, tables: Tables
) -> None:
    second = read()
    write(ledger, decided(create()), decided(create()))
    assert write(ledger, decided(read()), decided(second)) == [
        "created usage",
        "deferred ambiguous_read",
    ]
    [row] = tables.deferred(reason="ambiguous_read")
    assert write(ledger, settlement(second, row, COST)) == ["created usage"]
    assert [row["run_id"] for row in tables.receipts()] == ["run-bg", "run-bg"]
    assert all(resolution for _, resolution in deferrals(tables))
    assert write(ledger, decided(read())) == ["duplicate receipt"]


def test_each_source_has_its_own_responses(ledger: ReceiptWriter, tables: Tables) -> None:
    write(ledger, decided(create(), source="litellm/eu"))
    assert write(ledger, decided(read(), source="litellm/us")) == ["deferred awaiting_create"]
    assert tables.receipts() == []
    assert write(ledger, decided(read(), source="litellm/eu")) == ["created usage"]


def test_what_was_done_at_once_is_charged_and_its_reads_are_duplicates(
    ledger: ReceiptWriter, tables: Tables
) -> None:
    assert write(ledger, decided(read()), decided(finished())) == [
        "deferred awaiting_create",
        "created usage",
    ]
    assert write(ledger, decided(read()), decided(finished())) == [
        "duplicate receipt",
        "created usage",
    ]
    assert len(tables.receipts()) == 2
    assert ledger.waiting_responses()[0] == 0


def test_a_response_that_was_given_up_waits_no_longer(
    ledger: ReceiptWriter, tables: Tables
) -> None:
    write(ledger, decided(create()), decided(element(id="other", litellm_call_id="other")))
    assert write(ledger, decided(ended())) == ["skipped not_billable"]
    assert deferrals(tables) == [("awaiting_result", "no_charge")]


def test_a_read_that_disagrees_about_the_cost_is_a_conflict(
    ledger: ReceiptWriter, tables: Tables
) -> None:
    write(ledger, decided(create()), decided(read()))
    assert write(ledger, decided(read(response_cost=0.1))) == ["conflict content"]
    assert tables.receipt()["cost_text"] == COST


def test_names_that_postgresql_refuses_wait_as_well(ledger: ReceiptWriter, tables: Tables) -> None:
    nul = {"user_api_key_hash": "key", "spend_logs_metadata": {"run_id": "a\x00b"}}
    ordered = changed(create(), metadata=nul, end_user="x\x00y", request_tags=["t\x00", "ü"])
    write(ledger, decided(ordered))
    assert write(ledger, decided(read())) == ["created usage"]
    row = tables.receipt()
    assert (row["run_id"], row["billing_account_id"]) == ("a\ufffdb", "x\ufffdy")
    assert row["marks"] == ["text_replaced"]


def test_a_thousand_events_of_many_responses_are_one_receipt_each(
    ledger: ReceiptWriter, tables: Tables
) -> None:
    events = []
    for number in range(50):
        shared = {"created_at": 1_795_000_000 + number}
        events.append(create(run=f"run-{number}", response=response("queued", **shared)))
        events += [read(response=response("completed", **shared)) for _ in range(3)]
    # Reads of all before any create, then the creates, then reads again.
    order = sorted(range(len(events)), key=lambda place: ((place % 4) not in {1, 2}, place % 4))
    batch = [decided(events[place]) for place in order]
    for begin in range(0, len(batch), 70):
        ledger.write(batch[begin : begin + 70])
    assert sorted(row["run_id"] for row in tables.receipts()) == sorted(
        f"run-{number}" for number in range(50)
    )
    assert ledger.waiting_responses()[0] == 0


def test_another_read_at_the_place_of_a_former_topics_read_is_no_replay_of_it(
    ledger: ReceiptWriter, tables: Tables
) -> None:
    """Two responses that used the same: which of them it is of, nobody can tell."""
    first, again = decided(read(), offset=7), decided(read(), offset=7)
    place = (first.record.topic, first.record.partition)
    ledger.remember([Published("group", *place, "former", 0, 0)])
    assert write(ledger, first) == ["deferred awaiting_create"]
    assert write(ledger, decided(create())) == ["created usage"]
    assert write(ledger, decided(create())) == ["deferred awaiting_result"]
    before = tables.snapshot()
    assert write(ledger, again) == ["duplicate receipt"]
    assert tables.snapshot() == before
    ledger.remember([Published("group", *place, "made anew", 0, 0)])
    assert write(ledger, again) == ["deferred ambiguous_read"]
    assert len(tables.receipts()) == 1
