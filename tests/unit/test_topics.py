"""The declared topics hang together: names, limits, and what must fit into what."""

import pytest
from pydantic import ValidationError

from consumer.service import producer_config
from schemas.topics import Topic, load_topics
from tests.inputs.settings import settings

DAY_MS = 86_400_000


def test_the_names_are_the_interface() -> None:
    topics = load_topics()
    assert [topic.name for topic in topics.all()] == [
        "billing.callbacks.v1",
        "billing.callbacks.v1.dlq",
        "billing.receipts.v1",
        "billing.usage-units.v1",
        "billing.credits.v1",
    ]


def test_a_prefix_goes_before_every_name_and_changes_nothing_else() -> None:
    plain, prefixed = load_topics(), load_topics("eu.")
    for one, other in zip(plain.all(), prefixed.all(), strict=True):
        assert other.name == f"eu.{one.name}"
        assert other.model_copy(update={"name": one.name}) == one


@pytest.mark.parametrize("prefix", ["a b", "ä", "a/b", "x" * 240])
def test_a_prefix_that_kafka_refuses_is_refused(prefix: str) -> None:
    with pytest.raises(ValidationError):
        load_topics(prefix)


def test_a_dead_letter_has_room_for_any_callback_and_its_headers() -> None:
    topics = load_topics()
    room = topics.dead_letters.max_message_bytes - topics.callbacks.max_message_bytes
    assert room >= 64 * 1024
    found = settings()
    limit = producer_config(found, topics)["message.max.bytes"]
    assert limit >= topics.dead_letters.max_message_bytes


def test_no_topic_forgets_before_somebody_can_look() -> None:
    topics = load_topics()
    kept = {topic.name: int(topic.config["retention.ms"]) for topic in topics.all()}
    assert kept[topics.callbacks.name] >= 7 * DAY_MS
    assert kept[topics.dead_letters.name] >= kept[topics.callbacks.name]
    assert kept[topics.receipts.name] >= 30 * DAY_MS


def test_no_topic_forgets_by_size_nor_what_one_replica_of_three_has_not() -> None:
    for topic in load_topics().all():
        assert topic.config["retention.bytes"] == -1
        assert topic.config["unclean.leader.election.enable"] == "false"
        assert topic.min_insync_replicas == 2


def test_the_limit_of_a_topic_that_declares_none_is_kafkas() -> None:
    receipts = load_topics().receipts
    assert "max.message.bytes" not in receipts.config
    assert receipts.max_message_bytes == 1_048_588


def test_subscribers_in_every_language_can_read_receipts() -> None:
    topics = load_topics()
    assert topics.receipts.config["compression.type"] == "gzip"
    found = settings()
    assert producer_config(found, topics)["compression.type"] == "none"


@pytest.mark.parametrize(
    "fault", [{"partitions": 0}, {"name": ""}, {"name": "a b"}, {"replicas": 3}]
)
def test_a_declaration_that_makes_no_topic_is_refused(fault: dict[str, object]) -> None:
    whole = load_topics().callbacks.model_dump()
    with pytest.raises(ValidationError):
        Topic.model_validate({**whole, **fault})
