"""The door: who may come in, and how much may be in hand at once."""

import hmac
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Final, Self, TypeAlias

from starlette.requests import ClientDisconnect, Request

from producer_gateway.deadline import Deadline
from producer_gateway.metrics import Metrics

Headers: TypeAlias = Mapping[bytes, bytes]
"""A request's headers by lower-case name; of equal ones the first."""

_TRACEPARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


REFUSAL: Final = "refusal"
"""Under this name a request's state holds the `RefusedError` that ends it; the connection says so
where it cannot read on."""

_BOM: Final = b"\xef\xbb\xbf"


class RefusedError(Exception):
    """The request gets this answer and nothing of it is stored.

    Args:
        status: of the answer.
        reason: a code, one of few; it is a label and names a kind of log line.
        detail: what to do, for the sender.
        more: further members of the answer's JSON object.
    """

    def __init__(
        self, status: int, reason: str, detail: object, more: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.body = {"error": reason, "detail": detail, **(more or {})}


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
        found = self._of(token)
        if not found:
            raise self._refused("wrong", "this token is not one of the active ones")
        return found

    def recognised(self, authorization: bytes | None) -> str:
        """Return the source of a bearer token, empty where it is none; counts nothing."""
        scheme, _, token = (authorization or b"").partition(b" ")
        return self._of(token) if scheme.lower() == b"bearer" else ""

    def _of(self, token: bytes) -> str:
        given, found = _digest(token.strip()), ""
        for digest, source in self._sources:
            if hmac.compare_digest(digest, given):
                found = source
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

    __slots__ = ("_deadline", "_headers", "_in_flight", "_limit", "_request", "_reserved")

    def __init__(
        self,
        headers: Headers,
        request: Request,
        in_flight: InFlight,
        limit: int,
        deadline: Deadline,
    ) -> None:
        self._headers = headers
        self._request = request
        self._in_flight = in_flight
        self._limit = limit
        self._deadline = deadline
        self._reserved = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._in_flight.give_back(self._reserved)

    async def read(self) -> bytes:
        """Return the body, whole and with something in it, or raise `RefusedError`.

        413, 415, 503 with reason `abandoned`; 400 where the framing broke off or does not hold what
        it declared, and where nothing but white space came. Whoever has bytes from here has all
        that the sender framed: no other way leads to a 2xx.

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
            raw = await self._deadline.within(self._chunks(declared is None))
        except (TimeoutError, ClientDisconnect):
            raise RefusedError(503, "abandoned", "the body did not arrive in time") from None
        if declared is not None and len(raw) != int(declared):
            raise RefusedError(400, "incomplete_body", "the body has not the length it declares")
        if _is_blank(raw):
            raise RefusedError(400, "empty_body", "the body is empty; a list of nothing is `[]`")
        return raw

    async def _chunks(self, count: bool) -> bytes:  # noqa: FBT001 - private, one caller
        chunks, more, receive = list[bytes](), True, self._request.receive
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk, more = message.get("body", b""), message.get("more_body", False)
            if more:
                raise_refusal(self._request)
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


def raise_refusal(request: Request) -> None:
    """Raise the `RefusedError` that the connection has left for this request, if it has."""
    if state := request.scope.get("state"):
        refusal: RefusedError | None = state.get(REFUSAL)
        if refusal is not None:
            raise refusal


def _is_blank(raw: bytes) -> bool:
    return not raw or raw.isspace() or (raw.startswith(_BOM) and not raw[len(_BOM) :].strip())


def valid_traceparent(header: bytes | None) -> str | None:
    """Return `header` where it is a valid traceparent (W3C Trace Context 1), else None."""
    return header.decode() if header and _TRACEPARENT.fullmatch(header) else None


def _digest(token: bytes) -> bytes:
    return sha256(token).digest()
