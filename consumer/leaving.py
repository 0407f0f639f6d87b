"""Leaving: the group's client is closed, or left behind, and the process ends in time."""

import faulthandler
import time
from threading import Thread
from typing import Final

import structlog
from confluent_kafka import Consumer

from runtime.metrics import KAFKA_ERRORS

log = structlog.get_logger("consumer")

_LEAVING_SECONDS: Final = 10.0
_FROZEN_SECONDS: Final = 30.0
_TURN_SECONDS: Final = 0.1
_STDERR: Final = 2


def leave(
    consumer: Consumer, seconds: float = _LEAVING_SECONDS, frozen_seconds: float = _FROZEN_SECONDS
) -> None:
    """Leave the group and close its client, which is left behind where that does not end in time.

    The client may wait without end where a rebalance meets its closing (librdkafka issues 4041 and
    4527); by then it has left the group, or the group gives up on it after the session timeout. If
    it waits within a rebalance callback it holds the interpreter's lock, and no thread runs any
    more. So the process ends with code 1 where it lives for `frozen_seconds` after this began, and
    says where each thread stood; unless the client was closed. Raises what the closing raises.
    """
    failures: list[Exception] = []

    def close() -> None:
        try:
            try:
                _without_partitions(consumer, time.monotonic() + seconds / 2)
            finally:
                consumer.close()
        except Exception as error:  # noqa: BLE001 - handed to the thread that waits
            failures.append(error)

    faulthandler.dump_traceback_later(frozen_seconds, exit=True, file=_STDERR)
    closing = Thread(target=close, name="leave", daemon=True)
    closing.start()
    closing.join(seconds)
    if closing.is_alive():
        KAFKA_ERRORS.labels("close").inc()
        log.warning("the kafka client does not close and is left behind", seconds=seconds)
    else:
        faulthandler.cancel_dump_traceback_later()
    for failure in failures:
        raise failure


def _without_partitions(consumer: Consumer, until: float) -> None:
    """Have the client give its partitions back, so that no rebalance meets its closing."""
    consumer.unsubscribe()
    while consumer.assignment() and time.monotonic() < until:
        consumer.poll(_TURN_SECONDS)
    # What the group has told it meanwhile is served here, and not by its closing.
    consumer.poll(0)
