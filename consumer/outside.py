"""The outside: what the consumer needs of Kafka, of the ledger and of the machine, and no more.

Each has its real form beside it in this room or on a lower floor. A simulator stands in for all of
them at once and decides by a seed what happens when.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Protocol, TypeVar

from charging.outcomes import Decided, Decision, Outcome
from consumer.extent import Extent
from consumer.start import Place
from ledger.gap import Known, Published
from ledger.positions import Move
from schemas.record import Record

_Answer = TypeVar("_Answer")
_Answer_co = TypeVar("_Answer_co", covariant=True)

Decide = Callable[[Record], Decision]
"""What a record becomes; pure."""


class Ledger(Protocol):
    """The books, as far as the consumer writes and asks; see `ledger.receipts.ReceiptWriter`."""

    def write(self, batch: Sequence[Decided], published: Sequence[Published] = ()) -> list[Outcome]:
        """Write a batch in one transaction."""
        ...

    def takes(self, decided: Decided) -> bool:
        """Say whether the tables take a record."""
        ...

    def remember(self, published: Sequence[Published]) -> None:
        """Write down up to where partitions are written and published."""
        ...

    def known(self, group: str, places: Collection[Place]) -> dict[Place, Known]:
        """Return up to where partitions are written and published."""
        ...

    def move(self, group: str, moves: Sequence[Move]) -> list[Move]:
        """Have partitions read on from elsewhere."""
        ...

    def open_deferred(self) -> tuple[int, float]:
        """Return the number of open deferrals and the age of the oldest, seconds."""
        ...

    def waiting_responses(self) -> tuple[int, float]:
        """Return how many callbacks wait for another, and the age of the oldest, seconds."""
        ...

    def abandon(self) -> None:
        """Make whatever waits for it fail."""
        ...


class Events(Protocol):
    """The transactions of the topics; see `consumer.publisher.Publisher`."""

    def publish(self, outcomes: Sequence[Outcome], extent: Extent, metadata: object) -> None:
        """Commit the events, the dead letters and the offsets of a batch, all or nothing."""
        ...

    def renew(self) -> None:
        """Fence what failed and begin anew."""
        ...


class Topics(Protocol):
    """What the cluster says of topics, outside of the group; see `consumer.topics.KafkaTopics`."""

    def ids(self, topics: Collection[str]) -> dict[str, str]:
        """Return the id of each topic, "" where it is never told. Raises `KafkaException`."""
        ...

    def ends(self, places: Collection[Place]) -> tuple[dict[Place, int], dict[Place, int]]:
        """Return the first offset of each partition, and the one after its last.

        Raises `KafkaException`.
        """
        ...

    def epochs(self, offsets: Mapping[Place, int]) -> dict[Place, int]:
        """Return the epoch of the leader that wrote each record; nothing where none stands.

        Raises `KafkaException`.
        """
        ...

    def read(
        self, place: Place, first: int, end: int, told: Callable[[], bool]
    ) -> Iterator[list[Record]]:
        """Yield the records of a partition from `first` to before `end`, or until `told`.

        Raises `KafkaException`.
        """
        ...


class Work(Protocol[_Answer_co]):
    """Something that is done in another thread."""

    def done(self) -> bool:
        """Whether it has ended."""
        ...

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it has ended, so long at most; whether it has."""
        ...

    def result(self) -> _Answer_co:
        """Return what it returned, or raise what it raised; waits for it."""
        ...


class Thread(Protocol):
    """Does one thing after the other, in the order in which they were begun."""

    def begin(self, work: Callable[[], _Answer]) -> Work[_Answer]:
        """Have something done, after all that was begun before. For any thread."""
        ...

    def close(self) -> None:
        """Return when nothing is left to do."""
        ...


class Machine(Protocol):
    """A clock, and more threads."""

    def now(self) -> float:
        """Seconds since any moment; never goes back."""
        ...

    def thread(self, name: str) -> Thread:
        """Return one more."""
        ...


class Threaded(Work[_Answer]):
    """Work of a real thread."""

    def __init__(self, future: "Future[_Answer]") -> None:
        self._future = future

    def done(self) -> bool:
        """Whether it has ended."""
        return self._future.done()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it has ended, so long at most; whether it has."""
        return bool(wait([self._future], seconds).done)

    def result(self) -> _Answer:
        """Return what it returned, or raise what it raised; waits for it."""
        return self._future.result()


class RealThread:
    """A thread of this process."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)

    def begin(self, work: Callable[[], _Answer]) -> Work[_Answer]:
        """Have something done in it."""
        future: Future[Any] = self._thread.submit(work)
        return Threaded(future)

    def close(self) -> None:
        """Return when nothing is left to do."""
        self._thread.shutdown()


class RealMachine:
    """This one."""

    def now(self) -> float:
        """Seconds since any moment."""
        return time.monotonic()

    def thread(self, name: str) -> RealThread:
        """Return one more."""
        return RealThread(name)
