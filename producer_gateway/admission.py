"""The door: who may come in, and how much may be in hand at once."""

import hmac
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Final, Self, TypeAlias

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from producer_gateway.deadline import Deadline
from producer_gateway.metrics import Metrics

Headers: TypeAlias = Mapping[bytes, bytes]
"""A request's headers by lower-case name; of equal ones the first."""

_TRACEPARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


class RefusedError(Exception):
    """The request gets this answer and nothing of it is stored."""

    def __init__(self, status: int, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason


class Authenticator:
    """Knows the active tokens, by their digests, and the source that each one names."""

    def __init__(self, tokens: Mapping[str, str], metrics: Metrics) -> None:
        self._sources = [(_digest(token.encode()), source) for token, source in tokens.items()]
        self._metrics = metrics

    def source(self, authorization: bytes | None) -> str:
        """Return the source of a bearer token. Raises `RefusedError` (401).

        Every active token is compared, each in constant time: the time taken tells nothing.
        """
        if authorization is None:
            raise self._refused("missing", "send `Authorization: Bearer <token>`")
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not token:
            raise self._refused("malformed", "the Authorization header must be `Bearer <token>`")
        given, found = _digest(token.strip()), ""
        for digest, source in self._sources:
            if hmac.compare_digest(digest, given):
                found = source
        if not found:
            raise self._refused("wrong", "this token is not one of the active ones")
        return found

    def _refused(self, reason: str, detail: str) -> RefusedError:
        self._metrics.auth_failures.labels(reason).inc()
        return RefusedError(401, reason, detail)


class InFlight:
    """Bytes of bodies in hand, bounded."""

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self.used = 0
        self._limit = limit
        metrics.inflight_bytes.set_function(lambda: self.used)

    def take(self, count: int) -> None:
        """Reserve `count` bytes. Raises `RefusedError` (503) where they are not free."""
        if self.used + count > self._limit:
            raise RefusedError(503, "inflight", "too many bytes are in hand; send again")
        self.used += count

    def give_back(self, count: int) -> None:
        """Release what was reserved."""
        self.used -= count


class Body:
    """One request's body, read within the bounds; use as a context that holds its bytes in hand."""

    __slots__ = ("_deadline", "_headers", "_in_flight", "_limit", "_receive", "_reserved")

    def __init__(
        self,
        headers: Headers,
        receive: Receive,
        in_flight: InFlight,
        limit: int,
        deadline: Deadline,
    ) -> None:
        self._headers = headers
        self._receive = receive
        self._in_flight = in_flight
        self._limit = limit
        self._deadline = deadline
        self._reserved = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._in_flight.give_back(self._reserved)

    async def read(self) -> bytes:
        """Return the body. Raises `RefusedError`: 413, 415, or 503 with reason `abandoned`.

        Never holds more than the bound: the declared length is refused before a byte is read, and
        what comes without one is counted as it arrives.
        """
        encoding = self._headers.get(b"content-encoding", b"").strip().lower()
        if encoding not in (b"", b"identity"):
            raise RefusedError(415, "encoding", "send the body without Content-Encoding")
        declared = self._headers.get(b"content-length")
        if declared is not None:
            self._reserve(int(declared))
        try:
            return await self._deadline.within(self._chunks(declared is None))
        except (TimeoutError, ClientDisconnect):
            raise RefusedError(503, "abandoned", "the body did not arrive in time") from None

    async def _chunks(self, count: bool) -> bytes:  # noqa: FBT001 - private, one caller
        chunks, more = list[bytes](), True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk, more = message.get("body", b""), message.get("more_body", False)
            if count:
                self._reserve(len(chunk))
            if chunk:
                chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _reserve(self, count: int) -> None:
        if self._reserved + count > self._limit:
            raise RefusedError(413, "too_large", f"a body may have {self._limit} bytes")
        self._in_flight.take(count)
        self._reserved += count


def valid_traceparent(header: bytes | None) -> str | None:
    """Return `header` where it is a valid traceparent (W3C Trace Context 1), else None."""
    return header.decode() if header and _TRACEPARENT.fullmatch(header) else None


def _digest(token: bytes) -> bytes:
    return sha256(token).digest()
