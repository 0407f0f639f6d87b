"""A connection: requests out of its bytes, each whole or not at all, and one answer to each.

uvicorn's protocol on httptools does the work. It takes a request that offers to speak another
protocol (`Upgrade`, as Java's HttpClient and `curl --http2` do by default) for one that ends with
its head, and answers what it cannot parse at once, whatever is in hand. Both are put right here.
"""

import asyncio
from typing import Any, Final

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from producer_gateway.admission import REFUSAL, RefusedError

_MAX_HEAD_BYTES: Final = 64 * 1024
_STAND_IN: Final = b"POST /unreadable HTTP/1.1\r\nConnection: close\r\n\r\n"
"""Parsed in place of what cannot be, so that its refusal goes the way of every answer."""


class Connection(HttpToolsProtocol):
    """uvicorn's protocol, which passes a request's end on only when its framing has ended.

    * An offer of another protocol is ignored, and the body is read like any other.
    * What cannot be read on is an answer in its turn, given by the application, which finds a
      `RefusedError` under `REFUSAL` in the request's state; the connection ends after it. What
      was complete before it keeps its own answer.
    * A client that ends its own side still gets the answers to what it had sent whole.
    * Heads are bounded, and trailers are no headers.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_bytes = 0
        """Received since the last message ended, as long as no body is open."""
        self._segment_bytes = 0
        self._trailers = _Trailers()
        self._body_open = False
        self._over = False
        """Nothing more is read; what is in hand is still answered."""

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._over:
            return
        self._unset_keepalive_if_required()
        self._segment_bytes = len(data)
        self._head_bytes += len(data)
        try:
            self._feed(data)
            if self._head_bytes > _MAX_HEAD_BYTES and not self._body_open:
                raise _too_large()
        except (RefusedError, httptools.HttpParserError) as error:
            # What the parser's callbacks below raise is inside of its own error.
            for refusal in (error, error.__context__):
                if isinstance(refusal, RefusedError):
                    self._end_with(refusal)
                    return
            self._end_with(RefusedError(400, "malformed", f"this is no HTTP/1.1: {error}"))

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
        # Only a large segment, or many of them, can hold a large head.
        received = self._segment_bytes if self._head_bytes == 0 else self._head_bytes
        if received > _MAX_HEAD_BYTES and _size(self.headers) > _MAX_HEAD_BYTES:
            raise _too_large()
        super().on_headers_complete()
        self.headers, self._trailers.size = self._trailers, 0
        self._head_bytes, self._body_open = 0, True

    def on_message_complete(self) -> None:
        """End a body: its framing was read to the end."""
        if self.parser.should_upgrade():
            return
        self._head_bytes, self._body_open = 0, False
        super().on_message_complete()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection for as long as answers are due to a client that only listens now."""
        if self.cycle is None or self.cycle.response_complete:
            return False
        if self._body_open and not self._over:
            self._end_with(RefusedError(503, "abandoned", "the body did not arrive"))
        self._over, self.cycle.keep_alive = True, False
        return True

    def _end_with(self, refusal: RefusedError) -> None:
        """Refuse what is being read, in its turn, and read nothing more."""
        self._over = True
        if not self._body_open:
            self._begin_anew()
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
        self.size += _size([header])
        if self.size > _MAX_HEAD_BYTES:
            raise _too_large()


def _size(headers: list[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) for name, value in headers)


def _too_large() -> RefusedError:
    return RefusedError(431, "head_too_large", f"a head may have {_MAX_HEAD_BYTES} bytes")
