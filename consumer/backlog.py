"""The backlog: what of the whole group waits, for how long, and which partitions nobody reads.

Also what waits on the topics that the group writes to, unseen by their readers: see `hidden`.

Each member looks at all partitions, its own and those of others, with clients of its own that are
no members: a partition whose owner is dead, frozen or stuck is told by the others, and by whoever
comes next. The loop has no part in it.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from charging.origin import EARLIEST_MS
from consumer import metrics
from consumer.group import Group
from consumer.hidden import Hidden
from consumer.start import Place
from runtime.logs import OnceAMinute
from runtime.metrics import KAFKA_ERRORS
from runtime.topic_offsets import topic_offsets

log = structlog.get_logger("consumer")

_EVERY_SECONDS: Final = 5.0
_TIMEOUT_SECONDS: Final = 10.0
_READ_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Oldest:
    """The first record of a partition that the group has not committed.

    `since` is when it was first seen to wait; `timestamp` Kafka's of the record, None where nobody
    can believe it. Both are seconds since the epoch.
    """

    offset: int
    since: float
    timestamp: float | None

    def seconds(self, now: float) -> float:
        """How long it has waited."""
        known = self.since if self.timestamp is None else min(self.since, self.timestamp)
        return max(now - known, 0.0)


def believed(timestamp_ms: int, now: float) -> float | None:
    """Return a record's time in seconds; None where its clock was wrong, or there is none."""
    return timestamp_ms / 1_000 if EARLIEST_MS <= timestamp_ms <= now * 1_000 else None


class Backlog:
    """Looks at the group every few seconds, in a thread of its own, until `close`.

    Args:
        config: of its clients.
        group: looked at.
        topics: that the group reads.
        written: topics that the group writes to.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        group: str,
        topics: Sequence[str],
        written: Sequence[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        # A question by an administrator's client makes the topic, where the brokers make topics.
        looking = dict(config) | {"allow.auto.create.topics": False}
        self._admin = AdminClient(looking)
        self._reader = Consumer(
            looking
            | {
                "group.id": group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                # One record of a partition is all that is wanted of it.
                "fetch.message.max.bytes": 1,
                "queued.min.messages": 1,
                "queued.max.messages.kbytes": 1,
                "fetch.wait.max.ms": 100,
            }
        )
        self._group = Group(looking, group, self._admin)
        self._topics = topics
        self._written = written
        self._hidden = Hidden(self._admin, written, clock)
        self._clock = clock
        self._oldest: dict[Place, Oldest] = {}
        self._shown: set[Place] = set()
        self._say = OnceAMinute()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="backlog", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Look no more. A look that waits for Kafka is left behind."""
        self._end.set()
        self._thread.join(_EVERY_SECONDS)

    def _run(self) -> None:
        while not self._end.is_set():
            self._try(self.look, "the group cannot be looked at")
            # Apart: one of them that is missing hides nothing of the group, nor of the others.
            for topic in self._written:
                look = partial(self._look_for_hidden, topic)
                self._try(look, "a written topic cannot be looked at", topic)
            self._end.wait(_EVERY_SECONDS)
        self._reader.close()
        self._group.close()

    def _try(self, look: Callable[[], None], event: str, topic: str = "") -> None:
        try:
            look()
        except (KafkaException, TimeoutError) as error:
            KAFKA_ERRORS.labels("backlog").inc()
            if (times := self._say.now(topic)) is not None:
                named = {"topic": topic} if topic else {}
                log.warning(event, **named, detail=str(error)[:300], times=times)

    def look(self) -> None:
        """Look once. Raises `KafkaException` or `TimeoutError`; what was seen before stands."""
        places = {(topic, part) for topic in self._topics for part in self._partitions(topic)}
        ends = topic_offsets(self._admin, places, "end")
        begins = topic_offsets(self._admin, places, "first")
        committed = self._group.committed(places)
        waiting = {
            place: at
            for place, begin in begins.items()
            if (at := max(committed.get(place, -1), begin)) < ends[place]
        }
        self._note(waiting)
        self._show(places)
        unowned = places - self._group.owned()
        for topic in self._topics:
            count = sum(topic == place[0] for place in unowned)
            metrics.UNOWNED.labels(topic).set(count)
        metrics.LOOKED_AT.set(self._clock())

    def _look_for_hidden(self, topic: str) -> None:
        self._hidden.look(topic, self._partitions(topic))

    def _note(self, waiting: Mapping[Place, int]) -> None:
        """Remember what waits since when; forget what waits no more."""
        unknown = {
            place: offset
            for place, offset in waiting.items()
            if place not in self._oldest or self._oldest[place].offset != offset
        }
        read = self._timestamps(unknown)
        now = self._clock()
        kept = {place: self._oldest[place] for place in waiting.keys() - unknown.keys()}
        new = {
            place: Oldest(unknown[place], now, believed(timestamp_ms, now))
            for place, timestamp_ms in read.items()
        }
        self._oldest = kept | new

    def _show(self, places: Collection[Place]) -> None:
        for topic, partition in set(places) - self._shown:
            gauge = metrics.OLDEST_SECONDS.labels(topic, str(partition))
            # Asked when it is scraped: it goes on growing where Kafka does not answer any more.
            gauge.set_function(partial(self.seconds, (topic, partition)))
            self._shown.add((topic, partition))

    def seconds(self, place: Place) -> float:
        """Return how long the oldest uncommitted record of a partition has waited; 0 for none."""
        oldest = self._oldest.get(place)
        return 0.0 if oldest is None else oldest.seconds(self._clock())

    def _partitions(self, topic: str) -> set[int]:
        metadata = self._admin.list_topics(topic, timeout=_TIMEOUT_SECONDS).topics[topic]
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        return set(metadata.partitions)

    def _timestamps(self, places: Mapping[Place, int]) -> dict[Place, int]:
        """Read the first record of each partition from an offset on; none where none is there.

        Markers of transactions and records that were rolled back stand there and are no records.
        """
        if not places:
            return {}
        found: dict[Place, int] = {}
        left = set(places)
        self._reader.assign([TopicPartition(*place, places[place]) for place in places])
        until = time.monotonic() + _READ_SECONDS
        while left and time.monotonic() < until and not self._end.is_set():
            message = self._reader.poll(0.2)
            if message is None:
                continue
            place = (message.topic() or "", message.partition() or 0)
            if place in left:
                left.discard(place)
                self._reader.pause([TopicPartition(*place)])
                if message.error() is None:
                    found[place] = message.timestamp()[1]
        self._reader.unassign()
        # What could not be read in time waits all the same, since now.
        return found | dict.fromkeys(left, -1)
