"""Events of accounts: what other teams read on `billing.credits.v1`."""

import json
from contextlib import closing

import psycopg
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ledger.accounts import Limit
from ledger.credits import Credits
from ledger.holds import Holds
from tests.inputs.callbacks import costing
from tests.integration.moved_credits import GUARD, TOPIC, grant, told, waiting
from tests.observers.topics import TopicRecord
from tests.processes.consuming import Consuming
from tests.waiting import NET_SECONDS, eventually


def put_overdue_hold(url: str, account: str, amount: int) -> None:
    """Hold credits for a call whose time is over."""
    with psycopg.connect(url) as admin:
        admin.execute(
            "UPDATE billing.credit_accounts SET held = held + %s WHERE billing_account_id = %s",
            [amount, account],
        )
        admin.execute(
            "INSERT INTO billing.credit_holds (billing_account_id, litellm_call_id, nonce, amount,"
            " run_id, expires_at) VALUES (%s, 'call-9', 'n', %s, 'run-7', now())",
            [account, amount],
        )


def test_what_happens_to_an_account_is_told(
    consuming: Consuming, accounts: Credits, migrated_database_url: str
) -> None:
    grant(accounts, "acct-1", 1_200, "first")
    with closing(Holds(migrated_database_url, GUARD)) as holds:
        put_overdue_hold(migrated_database_url, "acct-1", 77)
        assert holds.expire(10) == 1
    consuming.member(BILLING_CREDIT_THRESHOLDS_USD="0.0001, 0.00001")
    # 300, 900 and 1 credits.
    consuming.send(costing("0.00003", id="1"))
    consuming.all_committed()
    consuming.send(costing("0.00009", id="2"))
    consuming.all_committed()
    consuming.send(costing("0.0000001", id="3"))
    consuming.all_committed()

    def records() -> list[TopicRecord]:
        found = consuming.topics.since(TOPIC, {})
        return found if len(found) >= 5 else []

    found = eventually(records, "five events")
    assert told(found) == [
        ("acct-1", "topped_up", 1_200),
        ("acct-1", "hold_expired", 1_200),
        ("acct-1", "threshold_crossed", 900),
        ("acct-1", "threshold_crossed", 0),
        ("acct-1", "exhausted", 0),
    ]
    values = [json.loads(record.value) for record in found]
    assert [one["threshold"] for one in values] == [None, None, 1_000, 100, None]
    assert (values[0]["amount"], values[0]["reason"]) == (1_200, "grant")
    expired = values[1]
    assert (expired["amount"], expired["litellm_call_id"], expired["run_id"]) == (
        77,
        "call-9",
        "run-7",
    )
    assert {one["kind"] for one in values} == {"prepaid"}
    for record, value in zip(found, values, strict=True):
        headers = {name: text.decode() for name, text in record.headers.items()}
        assert record.key == b"acct-1"
        assert headers == {
            "ce_id": value["id"],
            "ce_source": "/billing/credits",
            "ce_type": f"billing.credits.{value['type']}.v1",
            "ce_specversion": "1.0",
            "ce_subject": "acct-1",
            "ce_time": value["occurred_at"],
            "content-type": "application/json",
            "ce_partitionkey": "acct-1",
        }
    eventually(lambda: not waiting(migrated_database_url), "nothing to wait any more")
    [member] = consuming.members
    assert member.counted("billing_consumer_credit_events_total") == 5


def test_a_lower_limit_and_a_correction_are_told_as_what_they_leave(
    accounts: Credits, migrated_database_url: str
) -> None:
    accounts.open_account(Limit("acme", "postpaid", 5_000, "ann"))
    accounts.set_limit(Limit("acme", "postpaid", 500, "ann"))
    grant(accounts, "acme", -450, "fee")
    accounts.set_limit(Limit("acme", "postpaid", 450, "ann"))
    accounts.set_limit(Limit("acme", "postpaid", None, "ann"))
    accounts.set_limit(Limit("acme", "prepaid", None, "ann"))
    types = [kind for _, kind, _ in waiting(migrated_database_url)]
    crossed = "threshold_crossed"
    assert types == [crossed, crossed, "exhausted", crossed, crossed, "exhausted"]


def test_receipts_do_not_wait_for_a_topic_that_is_not_there(
    consuming: Consuming, accounts: Credits, migrated_database_url: str
) -> None:
    admin, name = AdminClient({"bootstrap.servers": consuming.bootstrap}), consuming.prefix + TOPIC
    admin.delete_topics([name])[name].result(NET_SECONDS)
    grant(accounts, "acct-1", 100, "first")
    member = consuming.member(BILLING_CREDIT_THRESHOLDS_USD="none")
    consuming.send(costing("0.00003", id="1"))
    consuming.all_committed()
    assert len(consuming.tables.receipts()) == 1
    fault = "billing_consumer_credit_event_faults_total"
    eventually(lambda: member.counted(fault) > 0, "a failed try to be counted")
    assert member.said("credit events are not published")
    oldest = "billing_consumer_credit_events_oldest_seconds"
    eventually(lambda: member.counted(oldest) > 0, "the age of what waits")
    assert len(waiting(migrated_database_url)) == 2
    admin.create_topics([NewTopic(name, 3, 1)])[name].result(NET_SECONDS)
    eventually(lambda: not waiting(migrated_database_url), "the events to be published")
    events = consuming.topics.since(TOPIC, {})
    assert told(events) == [("acct-1", "topped_up", 100), ("acct-1", "exhausted", -200)]


def test_movements_by_hand_are_told_where_receipts_are_not_debited(
    consuming: Consuming, accounts: Credits, migrated_database_url: str
) -> None:
    grant(accounts, "acct-1", 100, "first")
    consuming.member(BILLING_CREDITS="false")
    eventually(lambda: not waiting(migrated_database_url), "the event to be published")
    assert told(consuming.topics.since(TOPIC, {})) == [("acct-1", "topped_up", 100)]
