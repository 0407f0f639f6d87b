"""A request and its answer, on the connection that they come and go by.

uvicorn's cycle, with two things that it does in parts done at once: a body's bytes go straight to
whoever takes them, and an answer is written whole.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

EXCHANGE: Final = "exchange"
"""Under this name a request's state holds its `Arriving`, where a connection of ours takes it."""

_SMALL: Final = 1024

Taker: TypeAlias = Callable[[bytes], bool]
"""Takes a part of a body; false where it must not."""


class Parts:
    """The parts of a body. Many small ones take hardly more memory than what is in them."""

    __slots__ = ("_large", "_small", "size")

    def __init__(self) -> None:
        self.size = 0
        self._large = list[bytes]()
        self._small = bytearray()
        """Behind the large ones."""

    def add(self, part: bytes) -> None:
        """Put a part behind the others."""
        self.size += len(part)
        if len(part) < _SMALL:
            self._small += part
            return
        if self._small:
            self._large.append(bytes(self._small))
            self._small.clear()
        self._large.append(part)

    def joined(self) -> bytes:
        """Return all of them as one; a single large one is not copied."""
        return b"".join((*self._large, self._small) if self._small else self._large)


class Arriving(Protocol):
    """A body that comes, for those who do not want a message for each part of it."""

    def whole(self) -> bytes | None:
        """Return the body where all of it is there and none was received; else None."""

    def pour(self, taker: Taker | None) -> None:
        """Give `taker` each part that comes from now on, at once; receive says when it was all.

        What it does not take, and all behind that, is received as ever. With None, nobody takes
        any more.
        """


class Exchange(RequestResponseCycle):
    """One request of a connection, and its answer."""

    def __init__(self, **cycle: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(**cycle)
        self._parts = Parts()
        """They wait to be received."""
        self._taker: Taker | None = None
        self._start: Any = None
        """An answer's first message, until it is known whether there is more than one other."""

    async def run_asgi(self, app: Any) -> None:  # noqa: ANN401 - an application
        """Have the application answer."""
        # Not longer than that: a circle would be kept until it is looked for.
        state = self.scope["state"]
        state[EXCHANGE] = self
        try:
            await super().run_asgi(app)
        finally:
            del state[EXCHANGE]
            if self._parts.size:
                self._parts = Parts()

    def arrive(self, part: bytes) -> None:
        """Take a part of the body from the connection."""
        if self._taker is not None:
            if self._taker(part):
                return
            self._taker = None
        self._parts.add(part)
        if self._parts.size > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        self.message_event.set()

    def whole(self) -> bytes | None:
        """Return the body where all of it is there and none was received; else None."""
        if self.more_body or self.disconnected or self.waiting_for_100_continue:
            return None
        self.flow.resume_reading()
        self.message_event.clear()
        return self._received()

    def pour(self, taker: Taker | None) -> None:
        """Give `taker` each part that comes from now on, unless some wait to be received."""
        self._taker = taker if not self._parts.size else None

    async def receive(self) -> Any:  # noqa: ANN401 - a message
        """Return what has come of the body, as ASGI says."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        if not self.disconnected and not self.response_complete:
            self.flow.resume_reading()
            await self.message_event.wait()
            self.message_event.clear()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": self._received(), "more_body": self.more_body}

    def _received(self) -> bytes:
        parts, self._parts = self._parts, Parts()
        return parts.joined()

    async def send(self, message: Any) -> None:  # noqa: ANN401 - the same
        """Send an answer; one that comes whole, with its length declared, in one piece."""
        if message["type"] == "http.response.start" and not self.response_started:
            self._start = message
            return
        start, self._start = self._start, None
        if start is not None:
            if not message.get("more_body") and self._sent_whole(start, message.get("body", b"")):
                return
            await super().send(start)
        await super().send(message)

    def _sent_whole(self, start: Mapping[str, Any], body: bytes) -> bool:
        """Write head and body together; false where uvicorn has to see to it."""
        if self.disconnected or self.flow.write_paused or self.scope["method"] == "HEAD":
            return False
        written, declared, ends = [STATUS_LINE[start["status"]]], False, False
        for name, value in (*self.default_headers, *start["headers"]):
            written += (name, b": ", value, b"\r\n")
            if name == b"content-length":
                declared = int(value) == len(body)
            elif name == b"connection":
                ends = value.lower() == b"close"
        if not declared:
            return False
        self.keep_alive = self.keep_alive and not ends
        if not self.keep_alive and not ends:
            written.append(b"connection: close\r\n")
        written += (b"\r\n", body)
        self.waiting_for_100_continue = False
        self.response_started = self.response_complete = True
        self.transport.write(b"".join(written))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return True


def begun(connection: HttpToolsProtocol) -> Exchange:
    """Return the exchange that a complete head begins; its scope says then what was asked.

    Raises `httptools.HttpParserError` where the address is none.
    """
    parser, scope = connection.parser, connection.scope
    version, address = parser.get_http_version(), httptools.parse_url(connection.url)
    path = address.path.decode("ascii")
    scope["method"] = parser.get_method().decode("ascii")
    scope["http_version"] = version
    scope["path"] = unquote(path) if "%" in path else path
    scope["raw_path"] = address.path
    scope["query_string"] = address.query or b""
    return Exchange(
        scope=scope,
        transport=connection.transport,
        flow=connection.flow,
        logger=connection.logger,
        access_logger=connection.access_logger,
        access_log=connection.access_log,
        default_headers=connection.server_state.default_headers,
        message_event=asyncio.Event(),
        expect_100_continue=connection.expect_100_continue,
        keep_alive=version != "1.0" and parser.should_keep_alive(),
        on_response=connection.on_response_complete,
    )
