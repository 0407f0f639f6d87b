"""A witness of the topics: every event and dead letter that a read_committed subscriber sees."""

import json
import threading
import uuid

from confluent_kafka import Consumer, TopicPartition

from tests.waiting import NET_SECONDS

POLL_SECONDS = 0.2


class Witness:
    """Reads the receipts and the dead letters from their beginning, over broker restarts.

    `events` maps a receipt's id to the amount on its event; `letters` holds the positions of the
    callbacks that dead letters stand for; `doubled` names what came more than once.
    """

    def __init__(self, bootstrap: str, receipts: str, dead_letters: str) -> None:
        self._topics = (receipts, dead_letters)
        self._consumer = Consumer({
            "bootstrap.servers": bootstrap,
            "group.id": f"witness-{uuid.uuid4()}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "log_level": 2,
        })  # fmt: skip
        self._stop = threading.Event()
        self.events: dict[str, str] = {}
        self.letters: set[str] = set()
        self.doubled: list[str] = []
        self._read: set[tuple[str | None, int | None, int | None]] = set()
        self._thread = threading.Thread(target=self._run, name="witness")

    def start(self) -> None:
        """Begin to read; the topics must exist."""
        known = self._consumer.list_topics(timeout=NET_SECONDS).topics
        self._consumer.assign([
            TopicPartition(topic, partition, 0)
            for topic in self._topics
            for partition in known[topic].partitions
        ])  # fmt: skip
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            for message in self._consumer.consume(500, POLL_SECONDS):
                if message.error() is not None:
                    continue  # a broker that is away comes back; what is missing shows at the end
                found: object = message.headers()
                headers: dict[str, bytes] = dict(found if isinstance(found, list) else [])
                at = (message.topic(), message.partition(), message.offset())
                if at in self._read:
                    continue  # read again after a reconnection: the same record, not another one
                self._read.add(at)
                if message.topic() == self._topics[0]:
                    receipt = json.loads(message.value() or b"")
                    if receipt["id"] in self.events:
                        self.doubled.append(f"event {receipt['id']}")
                    self.events[receipt["id"]] = receipt["response_cost_usd"]
                else:
                    place = f"{headers['original-partition']!r} {headers['original-offset']!r}"
                    if place in self.letters:
                        self.doubled.append(f"dead letter {place}")
                    self.letters.add(place)

    def stop(self) -> None:
        """End reading."""
        self._stop.set()
        self._thread.join(NET_SECONDS)
        self._consumer.close()
