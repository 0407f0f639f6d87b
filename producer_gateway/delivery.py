"""Requests that wait for Kafka: one future a request, none a record, and no timer for any."""

import asyncio
from collections.abc import Iterator

from confluent_kafka import KafkaError, Message


class Delivery:
    """Counts the delivery reports of one request."""

    __slots__ = ("abandoned", "due", "error", "future", "late", "remaining")

    def __init__(self, count: int, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self.future: asyncio.Future[KafkaError | None] = loop.create_future()
        self.remaining = count
        self.due = due
        self.error: KafkaError | None = None
        self.abandoned = self.late = False

    def report(self, error: KafkaError | None, _message: Message) -> None:
        """Take one delivery report."""
        if error is not None:
            self.error = error
        self.remaining -= 1
        if not self.remaining:
            self.end()

    def end(self) -> None:
        """Wake the request. After that, reports may also come in another thread."""
        if not self.future.done():
            self.future.set_result(self.error)


class Deliveries:
    """Those that are not done, in the order in which they are due: all may take equally long."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._waiting = dict[Delivery, None]()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Delivery]:
        return iter(self._waiting)

    def begin(self, count: int) -> Delivery:
        """Return one of so many records, whose time begins."""
        delivery = Delivery(count, self._loop, self._loop.time() + self._timeout_s)
        self._waiting[delivery] = None
        return delivery

    def forget(self, delivery: Delivery) -> None:
        """Wait for it no longer."""
        del self._waiting[delivery]

    def end_late(self) -> None:
        """Wake the requests whose reports did not come in time."""
        now = self._loop.time()
        for delivery in self._waiting:
            if delivery.due > now:
                return
            if not delivery.future.done():
                delivery.late = True
                delivery.end()
