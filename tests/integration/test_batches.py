"""How large a batch becomes: as many records, or as many bytes, as the settings say."""

from prometheus_client.parser import text_string_to_metric_families

from tests.clients import fetching
from tests.inputs.callbacks import element
from tests.processes.consuming import CALLBACKS, Consuming, Member

PATIENCE_MS = "2000"
"""So that a batch becomes as large as it may be."""

FAILS_ONCE = ["tests.doubles.failing_publisher"]


def batches(member: Member) -> dict[str, int]:
    """How many batches had at most so many records, by that number; `+Inf` is all of them."""
    text = fetching.get(f"{member.metrics_url}/metrics").text
    return {
        sample.labels["le"]: int(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "billing_consumer_batch_records_bucket"
    }


def calls(count: int) -> list[bytes]:
    """Paid calls of one run."""
    run = {"spend_logs_metadata": {"run_id": "run", "attempt": 0}}
    names = [f"call-{number}" for number in range(count)]
    return [element(id=name, litellm_call_id=name, metadata=run) for name in names]


def test_a_batch_that_holds_enough_bytes_takes_no_more_records(consuming: Consuming) -> None:
    consuming.send(*calls(1_200))
    member = consuming.member(CONSUMER_BATCH_BYTES="1", CONSUMER_BATCH_WAIT_MS=PATIENCE_MS)
    consuming.all_committed()
    found = batches(member)
    assert found["500.0"] == found["+Inf"] >= 3
    consuming.every_receipt_is_published_once(1_200)


def test_a_batch_takes_no_more_records_than_it_may(consuming: Consuming) -> None:
    consuming.send(*calls(1_200))
    member = consuming.member(CONSUMER_BATCH_RECORDS="1000", CONSUMER_BATCH_WAIT_MS=PATIENCE_MS)
    consuming.all_committed()
    found = batches(member)
    assert found["1000.0"] == found["+Inf"]
    assert found["500.0"] < found["+Inf"]
    consuming.every_receipt_is_published_once(1_200)


def test_RECEIPTS_PUBLISHED_EXACTLY_ONCE_though_the_first_batch_of_a_group_fails(
    consuming: Consuming,
) -> None:
    """The group has no offset to go back to then, and the second batch is in hand already."""
    consuming.send(*calls(100))
    member = consuming.member(program=FAILS_ONCE, CONSUMER_BATCH_RECORDS="25")
    consuming.all_committed()
    assert member.said("went back to the committed offsets")
    consuming.every_receipt_is_published_once(100)


def test_dead_letters_that_are_read_again_count_once_against_their_limit(
    consuming: Consuming,
) -> None:
    for _ in range(60):
        consuming.produce(CALLBACKS, b"one", b"{")
    consuming.flush()
    member = consuming.member(program=FAILS_ONCE, CONSUMER_DEAD_LETTER_RUN="100")
    consuming.all_committed()
    assert member.said("went back to the committed offsets")
    assert len(consuming.dead_letters()) == 60
