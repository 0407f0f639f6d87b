"""The assignment: which partitions this member reads, and from where in each of them."""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from consumer import metrics, placing
from consumer.asking import Ask
from consumer.health import Health
from consumer.offsets import Offsets
from consumer.start import Place
from runtime.kafka import committed
from runtime.metrics import KAFKA_ERRORS

log = structlog.get_logger("consumer")

_CALLBACK_SECONDS: Final = 1.0
"""How long the group waits for an answer that can be asked for again afterwards."""


class Assignment:
    """Follows the group's rebalances. Not safe for threads.

    `places` are read. `revocations` counts how often some were taken away: what was polled before
    such a moment may be another member's. Both `gained` and `lost` are called by the client, from
    within a poll.
    """

    def __init__(self, offsets: Offsets, health: Health) -> None:
        self.places: set[Place] = set()
        self.revocations = 0
        self._offsets = offsets
        self._health = health
        self._unplaced: set[Place] = set()
        self._without_offset: dict[Place, str] = {}

    def gained(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Take partitions on, each from where the group has committed."""
        # The client asks for the group's offsets once, and where the coordinator has just moved it
        # never reads these partitions (librdkafka issue 5586). So it is told where to read.
        places = {(part.topic, part.partition) for part in partitions}
        self._offsets.unlearn({topic for topic, _ in places})
        try:
            answer = committed(consumer, places, _CALLBACK_SECONDS)
            found, missing = self._offsets.noted(places, answer)
            placing.assign(consumer, [TopicPartition(*place) for place in missing] + found)
        except KafkaException as error:
            KAFKA_ERRORS.labels(error.args[0].name()).inc()
            self._unplaced |= places
        self.places |= places
        self._tell("partitions assigned", places)

    def lost(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Give partitions up: whoever holds them next reads what is not committed."""
        self.revocations += 1
        # librdkafka keeps a pause over a rebalance: a partition that left during a wait and comes
        # back after it would never be read again.
        consumer.resume(list(partitions))
        places = {(part.topic, part.partition) for part in partitions}
        for mine in (self.places, self._unplaced):
            mine.difference_update(places)
        for place in places:
            self._without_offset.pop(place, None)
            self._offsets.forget(*place)
        self._tell("partitions revoked", places)

    def unplace(self) -> None:
        """Lose every position: what was read is given up, and the group says where to read on."""
        self._unplaced |= self.places

    @property
    def unplaced(self) -> set[Place]:
        """The places of which it is not known yet what the group has committed.

        The client may find that out by itself meanwhile. What it reads there is read again.
        """
        return self._unplaced

    def lacks_offset(self, place: Place, why: str) -> None:
        """Note that the client finds no valid offset of the group there, and what it says."""
        self._without_offset[place] = why

    @property
    def positioned(self) -> set[Place]:
        """The places of which it is known where to read."""
        return self.places - self._unplaced - self._without_offset.keys()

    def place(self, consumer: Consumer, ask: Ask) -> None:
        """Read on where the group's offsets could not be asked for.

        Raises `KafkaException`, and what `ask` raises.
        """
        if unplaced := self._unplaced & self.places:
            answer = ask(partial(committed, consumer, unplaced), "kafka")
            found, missing = self._offsets.noted(unplaced, answer)
            placing.read_on(consumer, found)
            self._without_offset |= dict.fromkeys(missing, "no committed offset")
            self._unplaced -= unplaced

    def position(self, consumer: Consumer, ask: Ask, in_hand: Collection[Place] = ()) -> None:
        """Read on where the group's offsets could not be asked for, or are none that are valid.

        Where records are `in_hand` it is not known yet what the group has read: those wait. Raises
        `KafkaException` where Kafka is away, and what `ask` raises that asks the ledger; called
        again, it goes on with what is left.
        """
        self.place(consumer, ask)
        wanted = (self._without_offset.keys() & self.places).difference(in_hand)
        places = {place: self._without_offset[place] for place in wanted}
        if places and self._offsets.start_over(consumer, places, ask):
            for place in places:
                self._without_offset.pop(place, None)

    def _tell(self, what: str, places: set[Place]) -> None:
        self._health.assigned = len(self.places)
        metrics.ASSIGNED.set(len(self.places))
        log.info(what, partitions=[f"{topic}/{partition}" for topic, partition in sorted(places)])
