"""A topic that was made anew: the same offsets mean other records, and charge nobody wrongly."""

import psycopg
import pytest

from tests.brokers.broker import missing_for_apache
from tests.inputs.callbacks import element, in_run
from tests.processes.consuming import CALLBACKS, Consuming
from tests.waiting import eventually

pytestmark = pytest.mark.skipif(
    bool(missing_for_apache()), reason="noida-db gives a new topic no new id"
)

SETTLE = ("deferred", "settle", "--cost", "0.0021", "--note", "price list")
CALLS = 20


def open_call(name: str, **fields: object) -> bytes:
    """A call that waits for its cost, in a run that all of these share."""
    return element(id=name, litellm_call_id=name, response_cost=0, **fields)


def test_what_stands_at_an_offset_now_is_neither_settled_nor_taken_for_a_replay(
    consuming: Consuming,
) -> None:
    waiting = [open_call("a"), open_call("b"), open_call("c"), open_call("d")]
    paid = [in_run(number) for number in range(CALLS)]
    consuming.send(*waiting, source="litellm/eu")
    consuming.send(*paid)
    member = consuming.member()
    consuming.all_committed()
    assert member.end() == 0
    ids = {row["kafka_topic_id"] for row in consuming.tables.deferred()}
    assert len(ids) == 1
    assert None not in ids

    consuming.make_anew()
    # At these offsets: another call, the same key of another source, the same call, another one.
    consuming.send(open_call("x"), source="litellm/eu")
    consuming.send(open_call("b"), source="litellm/us")
    consuming.send(open_call("c"), open_call("y"), source="litellm/eu")
    consuming.send(*paid)
    ends = consuming.topics.ends(CALLBACKS)
    with psycopg.connect(consuming.database_url) as connection:
        # As a release wrote them that kept nothing of a callback.
        connection.execute("UPDATE billing.deferred_calls SET callback = NULL, received_at = NULL")
    before = consuming.tables.snapshot()
    for name in ("a", "b", "d"):
        code, said = consuming.tried(*SETTLE, name, COLUMNS="400")
        assert code == 1
        assert "another record is there" in said
        assert "made anew" in said
        assert "only be waived" in said
    assert consuming.topics.ends(CALLBACKS) == ends
    assert consuming.tables.snapshot() == before

    member = consuming.member()
    consuming.all_committed()
    consuming.command(*SETTLE, "c")
    eventually(lambda: len(consuming.tables.receipts()) == CALLS + 1, "the settled receipt")
    consuming.all_committed()
    # The same calls at the same offsets, and yet no batch that a crash had interrupted.
    consuming.every_receipt_is_published_once(CALLS + 1)
    assert consuming.tables.receipt(litellm_call_id="c")["source_system"] == "litellm/eu"
    assert member.end() == 0
