"""The door: who may come in."""

import hmac
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Final, TypeAlias

from starlette.requests import Request

from producer_gateway.metrics import Metrics

Headers: TypeAlias = Mapping[bytes, bytes]
"""A request's headers by lower-case name; of equal ones the first."""

_TRACEPARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


REFUSAL: Final = "refusal"
"""Under this name a request's state holds the `RefusedError` that ends it; the connection says so
where it cannot read on."""

KNOWN: Final = "known"
"""This is in a request's state when its token was a valid one."""


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
        self._metrics = metrics
        self.replace(tokens)

    def replace(self, tokens: Mapping[str, str]) -> None:
        """From now on know these tokens (token -> source) and no others."""
        self._sources = [(_digest(token.encode()), source) for token, source in tokens.items()]

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


def raise_refusal(request: Request) -> None:
    """Raise the `RefusedError` that the connection has left for this request, if it has."""
    if state := request.scope.get("state"):
        refusal: RefusedError | None = state.get(REFUSAL)
        if refusal is not None:
            raise refusal


def valid_traceparent(header: bytes | None) -> str | None:
    """Return `header` where it is a valid traceparent (W3C Trace Context 1), else None."""
    return header.decode() if header and _TRACEPARENT.fullmatch(header) else None


def _digest(token: bytes) -> bytes:
    return sha256(token).digest()
