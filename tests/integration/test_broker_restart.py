"""A broker's restart under a consumer group: every member lives on, and goes on by itself."""

from typing import Final

import pytest

from tests.brokers.apache_kafka import ApacheKafka
from tests.brokers.broker import missing_for_apache
from tests.inputs.callbacks import in_run
from tests.processes.consuming import Consuming
from tests.waiting import eventually

LOOKED: Final = "billing_consumer_backlog_look_timestamp_seconds"
HASTY: Final = ["tests.doubles.hasty_backlog"]
pytestmark = pytest.mark.skipif(bool(missing_for_apache()), reason=str(missing_for_apache()))


@pytest.fixture
def kafka(broker: ApacheKafka) -> str:
    """The broker that is hurt has the topics of this file's tests."""
    return broker.bootstrap


def test_members_live_through_a_restart_of_their_coordinator(
    consuming: Consuming, broker: ApacheKafka
) -> None:
    members = [consuming.member(program=HASTY) for _ in range(2)]
    for restart in range(2):
        consuming.send(*(in_run(number) for number in range(restart * 70, restart * 70 + 70)))
        broker.kill()
        broker.start()
        consuming.all_committed()
        before = [member.counted(LOOKED) for member in members]

        def looked_again(before: list[float] = before) -> bool:
            return all(
                member.counted(LOOKED) > then for member, then in zip(members, before, strict=True)
            )

        eventually(looked_again, "the members to look at the group again")
    consuming.every_receipt_is_published_once(140)
    assert [member.end() for member in members] == [0, 0]
