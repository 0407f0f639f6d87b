"""Members of the consumer group: they share, stop when asked, and stop by themselves."""

import signal
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from tests.services.callbacks import in_run
from tests.services.consuming import (
    CALLBACKS,
    DEAD_LETTERS,
    Consuming,
    assigned,
)
from tests.services.gate import Gate
from tests.services.process import exit_code
from tests.services.waiting import eventually

BROKEN = ["tests.services.broken_release"]


def test_a_member_that_is_asked_to_stop_finishes_and_says_so(consuming: Consuming) -> None:
    member = consuming.member()
    consuming.send(*(in_run(number) for number in range(200)))
    assert member.end(signal.SIGTERM) == 0
    assert [line["event"] for line in member.lines()][-1] == "consumer stopped"
    successor = consuming.member()
    consuming.settled()
    consuming.every_receipt_is_published_once(200)
    assert successor.end(signal.SIGINT) == 0


def test_a_member_that_waits_for_the_database_stops_when_asked(consuming: Consuming) -> None:
    parts = urlsplit(consuming.database_url)
    gate = Gate(parts.port or 5432)
    url = consuming.database_url.replace(f":{parts.port}/", f":{gate.port}/")
    member = consuming.member(DATABASE_URL=url)
    gate.shut()
    consuming.send(in_run(1))
    eventually(lambda: member.said("batch will be tried again"), "the member to notice")
    assert member.end(signal.SIGTERM) == 0
    consuming.member()
    consuming.settled()
    consuming.every_receipt_is_published_once(1)


def test_partitions_that_leave_during_a_wait_and_come_back_are_read(consuming: Consuming) -> None:
    parts = urlsplit(consuming.database_url)
    gate = Gate(parts.port or 5432)
    url = consuming.database_url.replace(f":{parts.port}/", f":{gate.port}/")
    waiting = consuming.member(DATABASE_URL=url)
    gate.shut()
    consuming.send(*(in_run(number) for number in range(70)))
    eventually(lambda: waiting.said("batch will be tried again"), "the member to wait")
    guest = consuming.member()
    eventually(lambda: assigned([waiting, guest]) == [9, 9], "each to hold its share")
    gate.open()
    consuming.settled()
    assert guest.end() == 0
    eventually(lambda: assigned([waiting]) == [18], "the first to hold all partitions again")
    consuming.send(*(in_run(number) for number in range(70, 140)))
    consuming.settled()
    consuming.every_receipt_is_published_once(140)
    assert waiting.end() == 0
    gate.shut()


def test_two_members_share_and_the_work_of_a_killed_one_moves(consuming: Consuming) -> None:
    first, second = consuming.member(), consuming.member()
    eventually(
        lambda: sum(assigned([first, second])) == 18 and min(assigned([first, second])) >= 8,
        "both members to hold their share of the eighteen partitions",
    )
    for start in range(0, 300, 100):
        consuming.send(*(in_run(number) for number in range(start, start + 100)))
    first.end(signal.SIGKILL)
    consuming.send(*(in_run(number) for number in range(300, 400)))
    consuming.settled()
    eventually(lambda: assigned([second]) == [18], "the survivor to hold all partitions")
    consuming.every_receipt_is_published_once(400)
    assert consuming.dead_letters() == []
    assert second.end() == 0


def test_a_member_without_topics_says_what_is_missing(
    kafka: str, migrated_database_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    with closing(Consuming(kafka, migrated_database_url, topic_prefix, tmp_path)) as consuming:
        member = consuming.member(ready=False, BILLING_TOPIC_PREFIX=f"{topic_prefix}absent.")
        eventually(lambda: member.said("kafka reported an error"), "the member to notice")
        assert member.probe("/readyz") == 503
        assert member.end() == 0


def test_the_dead_letter_limit_stops_a_bad_release_with_nothing_committed(
    consuming: Consuming,
) -> None:
    for _ in range(8):
        consuming.produce(CALLBACKS, b"one", b"{")
    consuming.flush()
    bad = consuming.member(ready=False, program=BROKEN, CONSUMER_DEAD_LETTER_RUN="5")
    assert exit_code(bad.process, "the bad release") == 1
    assert "stopped by the dead-letter limit: 5 records in a row" in bad.log.read_text()
    assert consuming.topics.since(DEAD_LETTERS, {}) == []
    # The same records stop no release that reads what is good.
    whole = consuming.member(CONSUMER_DEAD_LETTER_RUN="5")
    consuming.send(in_run(1))
    consuming.settled()
    consuming.every_receipt_is_published_once(1)
    assert len(consuming.topics.since(DEAD_LETTERS, {})) == 8
    assert whole.end() == 0
