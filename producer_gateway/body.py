"""A request's body: read within the bounds of size, time and what all together have in hand."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, Self

from starlette.requests import ClientDisconnect, Request

from producer_gateway.deadline import Deadline
from producer_gateway.exchange import EXCHANGE, Arriving, Parts
from producer_gateway.metrics import Metrics
from producer_gateway.request import Headers, RefusedError, raise_refusal

_BOM: Final = b"\xef\xbb\xbf"
_WANTS_S: Final = 10.0
"""For so long after it was refused a source wants in."""


class InFlight:
    """Bytes of bodies in hand, bounded in all, and for each source while another one wants in.

    A source wants in while it has something in hand, and for ten seconds after it was refused.
    Where there is no room for one that has less than its equal part, bodies that are still arriving
    give way, the newest first, of the source that has most.
    """

    def __init__(
        self,
        limit: int,
        share: int,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.used = 0
        self.received = 0
        """In all, since the start."""
        self._limit = limit
        self._share = share
        self._clock = clock
        self._by_source = dict[str, int]()
        self._refused = dict[str, float]()
        """When each source was refused."""
        self._arriving = dict["Body", None]()
        metrics.inflight_bytes.set_function(lambda: self.used)

    def take(self, source: str, count: int) -> None:
        """Reserve `count` bytes. Raises `RefusedError` (503) where they are not free."""
        held = self._by_source
        own = held.get(source, 0) + count
        if own > self._share and self._others(source):
            self._refused[source] = self._clock()
            raise RefusedError(503, "source_share", "other sources need room; send again")
        if self.used + count > self._limit and not self._make_room(source, own, count):
            self._refused[source] = self._clock()
            raise RefusedError(503, "inflight", "the gateway holds too many bytes; send again")
        held[source] = own
        self.used += count
        self.received += count

    def give_back(self, source: str, count: int) -> None:
        """Release what was reserved."""
        if not count:
            return
        self.used -= count
        left = self._by_source[source] - count
        if left:
            self._by_source[source] = left
        else:
            del self._by_source[source]

    def arriving(self, body: "Body") -> None:
        """There is more to come of this body."""
        self._arriving[body] = None

    def arrived(self, body: "Body") -> None:
        """Nothing more comes of it."""
        self._arriving.pop(body, None)

    def _others(self, source: str) -> int:
        """Return how many other sources want in."""
        since = self._clock() - _WANTS_S
        for other in [other for other, at in self._refused.items() if at < since]:
            del self._refused[other]
        return len((self._by_source.keys() | self._refused.keys()) - {source})

    def _make_room(self, source: str, own: int, count: int) -> bool:
        """Have bodies of others give way to `source`, which would then hold `own` bytes."""
        part = self._limit // (1 + self._others(source))
        if own > part:
            return False
        for body in reversed(list(self._arriving)):
            if self.used + count <= self._limit:
                break
            most = max(self._by_source, key=self._by_source.__getitem__)
            if most == source or self._by_source[most] <= part:
                break
            if body.source == most:
                body.give_way()
        return self.used + count <= self._limit


class Body:
    """One request's body, read within the bounds; use as a context that holds its bytes in hand."""

    __slots__ = (
        "_deadline",
        "_gave_way",
        "_headers",
        "_in_flight",
        "_limit",
        "_request",
        "_reserved",
        "_task",
        "source",
    )

    def __init__(
        self,
        headers: Headers,
        request: Request,
        source: str,
        in_flight: InFlight,
        *,
        limit: int,
        deadline: Deadline,
    ) -> None:
        self.source = source
        self._headers = headers
        self._request = request
        self._in_flight = in_flight
        self._limit = limit
        self._deadline = deadline
        self._reserved = 0
        self._gave_way = False
        self._task: asyncio.Task[Any] | None = None
        """Who reads it, once there is more to come than came at first."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._release()

    async def read(self) -> bytes:
        """Return the body, whole and with something in it, or raise `RefusedError`.

        413, 415, 408 where it did not come in time, 503 with reason `abandoned` where its sender
        left; 400 where the framing broke off or does not hold what it declared, and where nothing
        but white space came. Whoever has bytes from here has all that the sender framed: no other
        way leads to a 2xx.

        Never holds more than the bound: a declared length over it is refused before a byte is read.
        Bytes are reserved as they arrive, whatever was declared.
        """
        encoding = self._headers.get(b"content-encoding", b"").strip().lower()
        if encoding not in (b"", b"identity"):
            raise RefusedError(415, "encoding", "send the body without Content-Encoding")
        declared = self._headers.get(b"content-length")
        if declared is not None and int(declared) > self._limit:
            raise self._too_large()
        arriving: Arriving | None = self._request.scope.get("state", {}).get(EXCHANGE)
        body = arriving.whole() if arriving is not None else None
        if body is None:
            body = await self._later(arriving)
        else:
            self._reserve(len(body))
        if declared is not None and len(body) != int(declared):
            raise RefusedError(400, "incomplete_body", "the body's length is not the declared one")
        if _is_blank(body):
            raise RefusedError(400, "empty_body", "the body is empty; an empty list is `[]`")
        return body

    async def _later(self, arriving: Arriving | None) -> bytes:
        """Return a body that has to be waited for."""
        try:
            return await self._deadline.within(self._chunks(arriving))
        except TimeoutError:
            if self._gave_way:
                raise RefusedError(503, "inflight", "other sources need room; send again") from None
            raise RefusedError(408, "slow_body", "the body did not arrive in time") from None
        except ClientDisconnect:
            raise RefusedError(503, "abandoned", "the body did not arrive completely") from None
        finally:
            if arriving is not None:
                arriving.pour(None)

    def give_way(self) -> None:
        """End the reading: others want in. Its bytes are free at once."""
        self._gave_way = True
        self._release()
        if self._task is not None:
            self._deadline.end(self._task)

    async def _chunks(self, arriving: Arriving | None) -> bytes:
        parts, more, receive = Parts(), True, self._request.receive

        def take(part: bytes) -> bool:
            try:
                self._reserve(len(part))
            except RefusedError:
                return False
            parts.add(part)
            return True

        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk, more = message.get("body", b""), message.get("more_body", False)
            if more:
                raise_refusal(self._request)
                self._more_comes()
            if chunk:
                self._reserve(len(chunk))
                parts.add(chunk)
            if more and arriving is not None:
                arriving.pour(take)
        if self._task is not None:
            self._in_flight.arrived(self)
        return parts.joined()

    def _more_comes(self) -> None:
        if self._task is None:
            self._task = asyncio.current_task()
            self._in_flight.arriving(self)

    def _reserve(self, count: int) -> None:
        if self._reserved + count > self._limit:
            raise self._too_large()
        self._in_flight.take(self.source, count)
        self._reserved += count

    def _release(self) -> None:
        if self._task is not None:
            self._in_flight.arrived(self)
        self._in_flight.give_back(self.source, self._reserved)
        self._reserved = 0

    def _too_large(self) -> RefusedError:
        return RefusedError(413, "too_large", f"a body may have at most {self._limit} bytes")


def _is_blank(body: bytes) -> bool:
    return not body or body.isspace() or (body.startswith(_BOM) and not body[len(_BOM) :].strip())
