"""The publisher: receipts, dead letters and offsets in one Kafka transaction.

RECEIPTS_PUBLISHED_EXACTLY_ONCE for `read_committed` subscribers; COMMIT_AFTER_WRITE because it is
called after PostgreSQL has committed.
"""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from charging.outcomes import Outcome, Parked
from consumer.deadline import DeadlineError, within
from consumer.extent import Extent
from consumer.letter import letters
from schemas.headers import TRACEPARENT, FoundHeaders
from schemas.receipt import to_kafka
from schemas.topics import Topics

_INIT_SECONDS: Final = 10.0
_MORE_SECONDS: Final = 2.0
"""How long after its own limit a client is left behind."""
_FIRST_SECONDS: Final = 0.1
"""For how long offsets are not sent before the events; an error is told with the offsets."""
_LONGEST_MS: Final = 120_000
"""Of a transaction, where Kafka ends none in less. A broker allows fifteen minutes by default."""
_LATE: Final = frozenset({KafkaError._TIMED_OUT, KafkaError._MSG_TIMED_OUT})  # noqa: SLF001 - their names


class PublishError(Exception):
    """The transaction failed, or nobody knows: the group's committed offsets tell after `renew`."""


class Publisher:
    """Owns the transactional producer. Not safe for threads.

    There is one way back from any failure: `renew`, which fences the failed producer. The broker
    then finishes what it was committing and rolls back everything else, and the offsets that the
    group has committed say which of the two happened.

    A transaction may take as long as its configuration says. Where one does not end in that time,
    the next one may take twice as long: else a Kafka that is slow for good would end none.
    """

    def __init__(self, config: dict[str, Any], topics: Topics, group: str) -> None:
        self._config = config
        self._topics = topics
        self._group = group
        self._timeout_ms: int = config["transaction.timeout.ms"]
        self._longest_ms = max(self._timeout_ms, _LONGEST_MS)
        self._next_timeout_ms = self._timeout_ms
        self._producer = self._new()

    def _new(self) -> Producer:
        timeout_ms = self._next_timeout_ms
        limits = {"transaction.timeout.ms": timeout_ms, "message.timeout.ms": timeout_ms}
        producer = Producer(self._config | limits)
        # From then on the broker rolls a transaction back by itself.
        self._deadline_seconds = timeout_ms / 1_000
        producer.init_transactions(max(_INIT_SECONDS, self._deadline_seconds))
        return producer

    def renew(self) -> None:
        """Replace the producer by one of the same transactional id.

        Raises `KafkaException`, and `DeadlineError` where the client does not answer in time.
        """
        self._producer.purge()
        seconds = max(_INIT_SECONDS, self._next_timeout_ms / 1_000)
        try:
            self._producer = within(seconds + _MORE_SECONDS, self._new, "the start of a producer")
        except DeadlineError:
            self._late()
            raise
        except KafkaException as error:
            code = error.args[0].code()
            if code in _LATE:
                self._late()
            elif code == KafkaError.INVALID_TRANSACTION_TIMEOUT:
                # The broker's `transaction.max.timeout.ms` is shorter.
                self._longest_ms = self._next_timeout_ms = self._timeout_ms
            raise

    def _late(self) -> None:
        """Give the next producer more time."""
        twice = int(2 * self._deadline_seconds * 1_000)
        self._next_timeout_ms = min(twice, self._longest_ms)

    def publish(
        self,
        outcomes: Sequence[Outcome],
        extent: Extent,
        metadata: object,
        traceparent: str | None = None,
    ) -> None:
        """Commit the events, the dead letters and the offsets of a batch, all or nothing.

        `extent` is where its records begin and end; `metadata` is the consumer's group metadata:
        the broker refuses offsets of a member that is of an older generation. `traceparent` says
        what trace the events are part of. Raises `PublishError`, within the transaction's timeout;
        then comes `renew`.
        """
        more = {} if traceparent is None else {TRACEPARENT: traceparent.encode()}
        transact = partial(self._transact, self._producer, outcomes, extent, metadata, more)
        try:
            # One that is left behind can commit nothing any more: `renew` fences its producer.
            within(self._deadline_seconds, transact, "the transaction")
        except DeadlineError as error:
            self._late()
            raise PublishError(str(error)) from error
        except KafkaException as error:
            if error.args[0].code() in _LATE:
                self._late()
            raise PublishError(error.args[0].str()) from error
        self._next_timeout_ms = self._timeout_ms

    def _transact(
        self,
        producer: Producer,
        outcomes: Sequence[Outcome],
        extent: Extent,
        metadata: object,
        more: Mapping[str, bytes],
    ) -> None:
        producer.begin_transaction()
        for outcome in outcomes:
            self._send(producer, outcome, more)
        # Serves what the client has to say, its errors and log lines.
        producer.poll(0)
        # The broker takes nothing of a transaction until the one before is ended in all partitions,
        # some milliseconds. For the events' partitions the client asks again in a moment, for the
        # offsets in a tenth of a second. A shorter `retry.backoff.ms` is no way out: the client
        # looks for a lost coordinator three times, that far apart, and then waits without end.
        producer.flush(_FIRST_SECONDS)
        seconds = self._deadline_seconds
        producer.send_offsets_to_transaction(extent.next_offsets, metadata, seconds)
        self._commit(producer, seconds)

    def _send(self, producer: Producer, outcome: Outcome, more: Mapping[str, bytes]) -> None:
        if outcome.receipt is not None:
            message = to_kafka(outcome.receipt)
            topic = self._topics.receipts.name
            headers = {**message.headers, **more} if more else message.headers
            _produce(producer, topic, message.key, message.value, headers)
        elif isinstance(outcome.decided.decision, Parked):
            dead, decided = self._topics.dead_letters, outcome.decided
            limit = dead.max_message_bytes
            for letter in letters(decided.record, outcome.decided.decision, self._group, limit):
                _produce(producer, dead.name, letter.key, letter.value, letter.headers)

    def _commit(self, producer: Producer, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                producer.commit_transaction(seconds)
            except KafkaException as error:
                # Retriable: the broker may or may not have it, and asking again is harmless.
                if not error.args[0].retriable() or time.monotonic() > deadline:
                    raise
            else:
                return


def _produce(
    producer: Producer,
    topic: str,
    key: bytes | str | None,
    value: bytes | None,
    headers: FoundHeaders | Mapping[str, bytes],
) -> None:
    while True:
        try:
            # A dead letter's may repeat a name, so they are pairs and not a mapping.
            producer.produce(topic, value=value, key=key, headers=headers)  # type: ignore[arg-type]
        except BufferError:
            # The local queue is full: the broker has to take some of it first.
            producer.poll(0.1)
        else:
            return
