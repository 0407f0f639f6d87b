"""A broker's restart under a consumer group: every member lives on, and goes on by itself."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from tests.services.apache_kafka import ApacheKafka
from tests.services.broker import missing_for_apache
from tests.services.callbacks import in_run
from tests.services.consuming import Consuming, Member
from tests.services.waiting import eventually

HASTY: Final = ["tests.services.hasty_backlog"]
pytestmark = pytest.mark.skipif(bool(missing_for_apache()), reason=str(missing_for_apache()))


@pytest.fixture
def consuming(
    broker: ApacheKafka, migrated_database_url: str, topic_prefix: str, tmp_path: Path
) -> Iterator[Consuming]:
    """Topics and tables of this test; no member of the group runs yet."""
    made = Consuming(broker.bootstrap, migrated_database_url, topic_prefix, tmp_path)
    with closing(made):
        yield made


def looks_again(member: Member) -> None:
    """Wait until a member has looked at its group once more."""
    looked_at = "billing_consumer_backlog_look_timestamp_seconds"
    before = member.counted(looked_at)
    eventually(lambda: member.counted(looked_at) > before, "the member to look at the group again")


def test_members_live_through_a_restart_of_their_coordinator(
    consuming: Consuming, broker: ApacheKafka
) -> None:
    members = [consuming.member(program=HASTY) for _ in range(2)]
    for restart in range(2):
        consuming.send(*(in_run(number) for number in range(restart * 70, restart * 70 + 70)))
        broker.kill()
        broker.start()
        consuming.settled()
        for member in members:
            looks_again(member)
    consuming.every_receipt_is_published_once(140)
    assert [member.end() for member in members] == [0, 0]
