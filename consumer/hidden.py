"""What is hidden: events behind an open transaction, which `read_committed` readers cannot see.

A transaction that a member leaves open is ended by its successor, or by the broker when its time
is over. One that stays open longer is a fault of Kafka: nothing is lost, and no subscriber sees
what comes after it.
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial

from confluent_kafka.admin import AdminClient

from consumer import metrics
from consumer.start import Place
from runtime.topic_offsets import topic_offsets


@dataclass(frozen=True, slots=True)
class Open:
    """The first offset of a partition that readers do not see, and when it was first found so."""

    offset: int
    since: float


class Hidden:
    """Looks for open transactions. One thread looks, any may ask how old they are.

    Args:
        admin: its client.
        topics: that it is going to look at.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        admin: AdminClient,
        topics: Collection[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._admin = admin
        self._clock = clock
        for topic in topics:
            # Told from the start, as 0: a topic that can never be looked at is told of as well.
            metrics.HIDDEN_LOOKED_AT.labels(topic)
        self._open: dict[Place, Open] = {}
        self._shown: set[Place] = set()

    def look(self, topic: str, partitions: Collection[int]) -> None:
        """Look at one topic once, and at nothing of the others.

        Raises `KafkaException`; what was seen before stands.
        """
        places = {(topic, partition) for partition in partitions}
        visible = topic_offsets(self._admin, places, "visible_end")
        ends = topic_offsets(self._admin, places, "end")
        now, before = self._clock(), self._open
        others = {place: known for place, known in before.items() if place[0] != topic}
        self._open = others | {
            place: known if (known := before.get(place)) and known.offset == at else Open(at, now)
            for place, at in visible.items()
            if at < ends[place]
        }
        for place in places - self._shown:
            gauge = metrics.OPEN_TRANSACTION_SECONDS.labels(topic, str(place[1]))
            gauge.set_function(partial(self.seconds, place))
            self._shown.add(place)
        metrics.HIDDEN_LOOKED_AT.labels(topic).set(now)

    def seconds(self, place: Place) -> float:
        """Return how long readers have stood before the same open transaction; 0 for none."""
        found = self._open.get(place)
        return 0.0 if found is None else max(self._clock() - found.since, 0.0)
