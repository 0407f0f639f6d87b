"""Three stages: a batch is published while the next one is written and a third is decided."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

import msgspec
import pytest

from charging.outcomes import Decision, Outcome, Parked
from consumer.extent import Extent
from consumer.limit import DeadLetterLimitError
from schemas.headers import Reason
from schemas.record import Record
from tests.inputs.callbacks import RECEIVED_MS, charged, element
from tests.inputs.settings import settings
from tests.simulation.broker import Broker
from tests.simulation.ledger import Books
from tests.simulation.member import TOPIC, Member
from tests.simulation.schedule import silence
from tests.simulation.world import World

PLACE = (TOPIC, 0)
BATCH = 6
ENDLESS_SECONDS = 1e6


@pytest.fixture(autouse=True)
def _silent() -> None:
    silence()


def record(offset: int) -> Record:
    """A record of the one partition."""
    return Record(*PLACE, offset, RECEIVED_MS, b"run", b"call", ())


def decisions(pattern: str) -> Callable[[Record], Decision]:
    """What each record becomes: p is parked, anything else is charged. The sample is parked."""
    sample = charged(element())

    def decide(one: Record) -> Decision:
        if one.topic != TOPIC or pattern[one.offset] == "p":
            return Parked(Reason.CONTRACT_BROKEN, "")
        receipt = msgspec.structs.replace(sample.receipt, id=UUID(int=one.offset))
        return msgspec.structs.replace(sample, receipt=receipt)

    return decide


class Alone:
    """One member that reads one partition; its broker is slow."""

    def __init__(self, pattern: str) -> None:
        self.world = World(1)
        self.books = Books()
        self.broker = Broker(self.world, {PLACE: [record(at) for at in range(len(pattern))]})
        self.broker.slow_until = ENDLESS_SECONDS
        chosen = settings(
            consumer_batch_records=BATCH, consumer_dead_letter_run=4, consumer_dead_letter_share=1.0
        )
        self.member = Member(
            self.world,
            self.broker,
            self.books,
            "alone",
            settings=chosen,
            decide=decisions(pattern),
        )

    def run(self, until: Callable[[], bool]) -> None:
        """Run until something is so."""
        self.world.run(until, lambda: None)

    def committed(self) -> int:
        """Up to where the group has come."""
        return self.broker.committed.get(PLACE, 0)


@contextmanager
def alone(pattern: str) -> Iterator[Alone]:
    """A member, ended afterwards."""
    tried = Alone(pattern)
    try:
        yield tried
    finally:
        tried.world.close()


def test_a_batch_is_written_and_a_third_one_read_while_one_is_published() -> None:
    with alone("c" * 10 * BATCH) as tried:
        seen = list[tuple[int, int]]()

        def looked() -> bool:
            if tried.member.events.publishing_since is not None:
                written = tried.books.positions[PLACE].next_offset
                seen.append((tried.committed(), written))
            return tried.committed() == 10 * BATCH

        tried.run(looked)
    ahead = {written - committed for committed, written in seen}
    assert max(ahead) > BATCH, "the next one is written while one is published"
    assert max(ahead) <= 2 * BATCH, "and no more than that"


def test_what_is_written_keeps_its_bytes_only_for_a_dead_letter() -> None:
    with alone("ccpccc") as tried:
        published = tried.member.events.publish
        values = list[bytes | None]()

        def noted(outcomes: list[Outcome], extent: Extent, metadata: object) -> None:
            values.extend(outcome.decided.record.value for outcome in outcomes)
            published(outcomes, extent, metadata)

        setattr(tried.member.events, "publish", noted)  # noqa: B010 - mypy refuses it otherwise
        tried.run(lambda: tried.committed() == BATCH)
    assert values == [None, None, b"call", None, None, None]


def test_a_release_that_is_stopped_has_committed_what_it_read_before() -> None:
    """Started again it would read both at once, and come no further."""
    with alone("c" * 2 * BATCH + "p" * BATCH) as tried:
        with pytest.raises(DeadLetterLimitError):
            tried.run(lambda: False)
        assert tried.committed() == 2 * BATCH


def test_what_is_published_as_a_partition_leaves_is_for_its_next_owner_to_write_down() -> None:
    """Which may have gone back, where Kafka has lost offsets, and have written other records."""
    with alone("c" * BATCH) as tried:
        tried.run(lambda: any(one.offsets for one in tried.broker.open))
        setattr(tried.broker, "join", lambda _: None)  # noqa: B010 - mypy refuses it otherwise
        tried.broker.leave("alone")
        later = tried.world.now + 10
        tried.run(lambda: tried.world.now > later)
        assert tried.committed() == BATCH
        assert tried.books.positions[PLACE].published_offset == 0
