"""A connection: requests out of its bytes, each whole or not at all, and one answer to each.

uvicorn's protocol on httptools does the work. It takes a request that offers to speak another
protocol (`Upgrade`, as Java's HttpClient and `curl --http2` do by default) for one that ends with
its head, and answers what it cannot parse at once, whatever is in hand. Both are put right here.
"""

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from itertools import count
from typing import Any, Final

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from producer_gateway.exchange import Exchange, begun
from producer_gateway.request import KNOWN, REFUSAL, RefusedError

_MAX_HEAD_BYTES: Final = 64 * 1024
_MAX_FIELDS: Final = 256
"""Each costs a hundred bytes of memory beside its own: 64 KiB of the shortest are megabytes."""
_FIELD_BYTES: Final = len(b": \r\n")
_MAX_QUEUED: Final = 32
"""Requests of one connection that wait behind the one in hand, with what they hold in memory."""
_MAX_QUEUES: Final = 64
"""Connections of this process that may have any. No client of ours sends before it is answered."""
_MAX_FRAMING_BYTES: Final = 64 * 1024
"""Of a body that may come without a byte of its own: chunk extensions, and trailers, which the
parser keeps until each of them is complete."""
_STAND_IN: Final = b"POST /unreadable HTTP/1.1\r\nConnection: close\r\n\r\n"
"""Parsed in place of what cannot be, so that its refusal goes the way of every answer."""


_serials: Final = count()
_queues: Final = set["Connection"]()
"""Connections on which requests wait behind others."""


class Phase(StrEnum):
    """What a connection is waiting for."""

    SILENT = "silent"
    """For the first byte."""
    HEAD = "head"
    """For the rest of a request's head."""
    BODY = "body"
    """For the rest of its body."""
    ANSWER = "answer"
    """For us."""
    UNREAD = "unread"
    """For its client to take what was answered."""
    REST = "rest"
    """For the rest of a body that has its answer already, which is thrown away."""
    IDLE = "idle"
    """For the next request."""
    CLOSING = "closing"
    """For its end."""


class Connection(HttpToolsProtocol):
    """uvicorn's protocol, which passes a request's end on only when its framing has ended.

    * An offer of another protocol is ignored, and the body is read like any other.
    * What cannot be read on is an answer in its turn, given by the application, which finds a
      `RefusedError` under `REFUSAL` in the request's state; the connection ends after it. What
      was complete before it keeps its own answer.
    * A client that ends its own side still gets the answers to what it had sent whole.
    * Heads, framing and the requests that wait for their turn are bounded; trailers are no headers.
    * It has no timers: `producer_gateway.connections` looks at all of them once a second.
    """

    cycle: Exchange

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.serial = next(_serials)
        self.requests = 0
        """Whose head was complete."""
        self.received = 0
        self._head_bytes = 0
        """Of the head that is being read, without the segment in which it began."""
        self._segment_bytes = 0
        self._trailers = _Trailers()
        self.headers = self._trailers
        """Of the head that is being read; the trailers where none is."""
        self.body_bytes = 0
        """Of the body that is being read, without its framing."""
        self._body_open = False
        self._body_seen = 0
        self._framing_bytes = 0
        """Received since the last byte of the body."""
        self.known = False
        self._over = False
        """Nothing more is read; what is in hand is still answered."""

    @property
    def phase(self) -> Phase:
        """What the connection is waiting for."""
        if self.transport.is_closing():
            return Phase.CLOSING
        if self.flow.write_paused:
            return Phase.UNREAD
        answered = self.cycle is None or self.cycle.response_complete
        if self._body_open and not self._over:
            # Behind another one it is not read on, and that is no fault of the client's.
            return Phase.REST if answered else Phase.ANSWER if self.pipeline else Phase.BODY
        if not answered:
            return Phase.ANSWER
        if self.headers is not self._trailers:
            return Phase.HEAD
        return Phase.IDLE if self.requests else Phase.HEAD if self.received else Phase.SILENT

    def remember(self) -> bool:
        """Return whether a request of it had a valid token, as far as was asked."""
        if not self.known and self.requests:
            self.known = KNOWN in self.scope["state"]
        return self.known

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._over:
            return
        size = self._segment_bytes = len(data)
        self.received += size
        if self.headers is not self._trailers:
            self._head_bytes += size
        try:
            self._feed(data)
            if self.headers is not self._trailers:
                self._bound_head()
            elif self._body_open:
                self._bound_framing(size)
        except (RefusedError, httptools.HttpParserError) as error:
            # What the parser's callbacks below raise is inside of its own error.
            for refusal in (error, error.__context__):
                if isinstance(refusal, RefusedError):
                    self.end_with(refusal)
                    return
            self.end_with(RefusedError(400, "malformed", f"this is not HTTP/1.1: {error}"))

    def _feed(self, data: bytes | memoryview) -> None:
        """Parse `data`; a head that offers another protocol a second time, without the offer.

        The parser cannot be told to ignore it: it has stopped behind the head, and says where.
        """
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                data, head = memoryview(data)[offer.args[0] :], self._head_without_offer()
                self._begin_anew()
                self.parser.feed_data(head)
            else:
                return

    def _head_without_offer(self) -> bytes:
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise httptools.HttpParserError("CONNECT is for proxies")
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (method, self.url, version)]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _begin_anew(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def on_headers_complete(self) -> None:
        """Begin a request, unless its head is to be read again."""
        if self.parser.should_upgrade():
            return
        self._bound_head()
        before, self.cycle = self.cycle, begun(self)
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
            self._queue()
        self.requests += 1
        self.headers, self._trailers.size = self._trailers, 0
        self._head_bytes, self._body_open = 0, True
        self.body_bytes = self._body_seen = self._framing_bytes = 0

    def _bound_head(self) -> None:
        """Raise `RefusedError` (431) where the head is too large, complete or not."""
        headers = self.headers
        if len(headers) > _MAX_FIELDS:
            raise _too_large()
        # One that began and ends in one small segment is small.
        if self._head_bytes or self._segment_bytes > _MAX_HEAD_BYTES:
            size = len(self.url) + _size(headers)
            if size > _MAX_HEAD_BYTES or self._head_bytes > _MAX_HEAD_BYTES:
                raise _too_large()

    def _bound_framing(self, size: int) -> None:
        """Raise `RefusedError` (431) for framing that has no body to it."""
        if self.body_bytes != self._body_seen:
            self._body_seen, self._framing_bytes = self.body_bytes, 0
        else:
            self._framing_bytes += size
            if self._framing_bytes > _MAX_FRAMING_BYTES:
                raise _too_large()

    def _queue(self) -> None:
        """Bound what waits behind the request in hand. Raises `RefusedError` (429)."""
        if self._over:
            return
        _queues.add(self)
        if len(self.pipeline) > _MAX_QUEUED or len(_queues) > _MAX_QUEUES:
            self.pipeline.popleft()
            raise RefusedError(429, "pipelined", "wait for the answer to a request; send again")

    def on_body(self, body: bytes) -> None:
        """Take a part of a body; one that is answered already is thrown away."""
        self.body_bytes += len(body)
        if not self.cycle.response_complete:
            self.cycle.arrive(body)

    def on_message_complete(self) -> None:
        """End a body: its framing was read to the end."""
        if self.parser.should_upgrade():
            return
        self._body_open = False
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Begin the request that waits behind the one that was answered."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            if not self.pipeline:
                _queues.discard(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        _queues.discard(self)
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection for as long as answers are due to a client that only listens now."""
        if self.cycle is None or self.cycle.response_complete:
            return False
        if self._body_open and not self._over:
            self.end_with(RefusedError(503, "abandoned", "the body did not arrive completely"))
        self._over, self.cycle.keep_alive = True, False
        return True

    def end_with(self, refusal: RefusedError) -> None:
        """Refuse what is being read, in its turn, and read nothing more."""
        self._over = True
        if not self._body_open:
            self._begin_anew()
            self._head_bytes = self._segment_bytes = 0
            self.parser.feed_data(_STAND_IN)
            self.scope["state"][REFUSAL] = refusal
        elif self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.scope["state"][REFUSAL] = refusal
            self.cycle.keep_alive = False
            self.cycle.message_event.set()


class _Trailers(list[tuple[bytes, bytes]]):
    """Takes the place of a request's headers once they are complete: keeps nothing, to a bound."""

    size = 0

    def append(self, header: tuple[bytes, bytes]) -> None:
        """Count a trailer. Raises `RefusedError` (431) where it is too much."""
        self.size += _size((header,))
        if self.size > _MAX_HEAD_BYTES:
            raise _too_large()


def _size(headers: Sequence[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) + _FIELD_BYTES for name, value in headers)


def _too_large() -> RefusedError:
    said = f"a head may have {_MAX_HEAD_BYTES} bytes and {_MAX_FIELDS} fields"
    return RefusedError(431, "head_too_large", said)
