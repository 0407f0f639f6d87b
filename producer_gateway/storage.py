"""What stands behind the door: Kafka, and where one is configured the spool with its drain."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from producer_gateway.adoption import Adoption
from producer_gateway.drain import Drain
from producer_gateway.failover import FailoverStore
from producer_gateway.metrics import Metrics
from producer_gateway.producer import KafkaStore
from producer_gateway.settings import Settings
from producer_gateway.spool import Spool
from schemas.topics import Topics

_LOG: Final = structlog.get_logger(__name__)
_LEAST_S: Final = 1.0


class Storage:
    """Makes the parts and ends them in order. `store` is the one to use.

    Must be created in a running event loop. Raises `SpoolError` where the spool cannot be opened,
    and `KafkaException` where the connection's settings are wrong. `on_fatal` is called, in the
    event loop, when the spool will not be drained ever again.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Topics,
        metrics: Metrics,
        on_fatal: Callable[[str], None],
    ) -> None:
        self.spool: Spool | None = None
        if settings.spool_dir is not None:
            self.spool = Spool(settings.spool_dir, settings.spool_max_bytes)
            metrics.watch(self.spool)
        self.kafka = KafkaStore(settings, topics, metrics)
        self.store: KafkaStore | FailoverStore = self.kafka
        self._failover: FailoverStore | None = None
        self._tasks = list[asyncio.Task[None]]()
        if self.spool is None:
            _LOG.warning("no_spool", note="without GATEWAY_SPOOL_DIR an outage of Kafka is 503")
            return
        self.store = self._failover = FailoverStore(self.kafka, self.spool, metrics)
        self.kafka.on_away = self._failover.leave
        drain = Drain(self.kafka, self._failover, self.spool, metrics)
        for work in (drain.run(), Adoption(self.spool, metrics).run()):
            task = asyncio.create_task(work)
            task.add_done_callback(lambda task: _ended(task, on_fatal))
            self._tasks.append(task)

    def away(self) -> str | None:
        """Return why nothing goes to Kafka; None when records go there."""
        return self._failover.away if self._failover else self.kafka.lost()

    def hurry(self) -> None:
        """Spool what still waits for Kafka, so that its requests end now."""
        if self._failover is not None:
            self._failover.leave("shutting down")

    async def close(self, timeout_s: float) -> None:
        """Flush the producer for at most `timeout_s` and close the spool."""
        for task in self._tasks:
            task.cancel()
        if left := await self.kafka.close(timeout_s):
            # Nobody was told 202 for them, or they are still in the spool.
            _LOG.warning("records_left", count=left)
        if self.spool is not None:
            await self.spool.close(max(timeout_s, _LEAST_S))


def _ended(task: asyncio.Task[None], on_fatal: Callable[[str], None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _LOG.error("drain_ended", exc_info=error)
        on_fatal(f"the drain ended: {error!r}")
