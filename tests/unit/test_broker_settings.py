"""What brokers void of the topics' declaration is said, and nothing where they void nothing."""

import pytest

from operator_cli.broker_settings import Found, in_sync, remarks

NAMES = ["callbacks", "receipts"]
SAFE = {
    "unclean.leader.election.enable": "false",
    "transaction.state.log.min.isr": "2",
    "socket.request.max.bytes": "104857600",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
}
INTERNAL = {"__consumer_offsets": 3, "__transaction_state": 3}
WHOLE = {"callbacks": 3, "receipts": 3, **INTERNAL}


def said(found: Found) -> str:
    """All remarks."""
    return "\n".join(remarks(found, NAMES, 10_000_000))


@pytest.mark.parametrize("replicas", [WHOLE, {}, INTERNAL], ids=["there", "no topics", "only its"])
def test_a_safe_cluster_is_passed_over(replicas: dict[str, int]) -> None:
    assert said(Found(replicas, {1: SAFE, 2: SAFE})) == ""


@pytest.mark.parametrize(
    ("replicas", "settings", "words"),
    [
        ({"callbacks": 1}, {}, "callbacks has 1 of 3 replicas"),
        ({"receipts": 2}, {}, "receipts has 2 of 3 replicas"),
        ({"__consumer_offsets": 1}, {}, "__consumer_offsets has 1 of 3 replicas"),
        ({}, {"unclean.leader.election.enable": "true"}, "broker 2: unclean.leader.election"),
        ({}, {"transaction.state.log.min.isr": "1"}, "broker 2: transaction.state.log.min.isr"),
        ({}, {"socket.request.max.bytes": "1000"}, "broker 2: socket.request.max.bytes is 1000"),
    ],
)
def test_what_is_void_is_said_and_where(
    replicas: dict[str, int], settings: dict[str, str], words: str
) -> None:
    found = Found(WHOLE | replicas, {1: SAFE, 2: SAFE | settings})
    assert words in said(found)
    assert len(said(found).splitlines()) == 1


def test_a_topic_that_is_not_there_yet_is_judged_by_how_it_would_be_made() -> None:
    found = Found({"callbacks": 3}, {1: SAFE | {"offsets.topic.replication.factor": "1"}})
    assert "__consumer_offsets has 1 of 3 replicas" in said(found)


@pytest.mark.parametrize(("replicas", "least"), [(1, 1), (2, 1), (3, 2), (5, 2)])
def test_one_broker_may_be_away_and_accepted_callbacks_are_on_two_disks_where_there_are_three(
    replicas: int, least: int
) -> None:
    assert in_sync(2, replicas) == least
