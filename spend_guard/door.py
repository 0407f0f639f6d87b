"""The door: who may come in, how much they may bring, and which account a path means."""

import hmac
from collections.abc import Sequence
from hashlib import sha256
from typing import Final
from urllib.parse import quote, unquote_to_bytes

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.text import REPLACEMENT
from spend_guard import metrics

MOST_BYTES: Final = 64 * 1024
"""Of a body: the longest texts that are kept whole take a few kilobytes."""
ACCOUNTS: Final = "/v1/accounts/"
HOLDS: Final = "/v1/holds"
_ENTRIES: Final = "/entries"
_MAY_ASK: Final = "may_ask"
_MAY_POST: Final = "may_post"


class Tokens:
    """Knows the active tokens by their digests."""

    def __init__(self, asking: Sequence[str], posting: Sequence[str]) -> None:
        self._known = [(_digest(token.encode()), _MAY_ASK) for token in asking]
        self._known += [(_digest(token.encode()), _MAY_POST) for token in posting]

    def may(self, authorization: bytes) -> str | None:
        """Return what the bearer of a token may do; None: nothing.

        Every active token is compared, each in constant time: the time taken tells nothing.
        """
        scheme, _, token = authorization.partition(b" ")
        given, found = _digest(token.strip()), None
        for digest, may in self._known:
            if hmac.compare_digest(digest, given):
                found = may
        return found if scheme.lower() == b"bearer" else None


class Door:
    """Lets requests in to `app` that have a token for what they ask and a body of a fit size."""

    def __init__(self, app: ASGIApp, tokens: Tokens) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            raise RuntimeError(f"no {scope['type']} here")
        path, route = routed(scope.get("raw_path") or scope["path"].encode())
        post_entries = route == "entries" and scope["method"] == "POST"
        counted = _counted(send, route)
        headers = dict(reversed(scope["headers"]))
        may = self._tokens.may(headers.get(b"authorization", b""))
        if may is None or not _allowed(may, route, post_entries=post_entries):
            await _refuse(counted, 401, "unauthorized", "this token is none of those for this")
            return
        try:
            body = await _body(receive)
        except ClientDisconnect:
            return
        if body is None:
            await _refuse(counted, 413, "too_large", f"a body has at most {MOST_BYTES} bytes")
            return
        await self._app({**scope, "path": path}, again(body, receive), counted)


def routed(escaped: bytes) -> tuple[str, str]:
    """Return the path to route by, in which an account is one segment, and the route's name.

    An account's name may have any letter, slashes too. It ends where the path ends, or before an
    `/entries` there that is not escaped.
    """
    path = escaped.decode("ascii", "replace")
    if path == HOLDS:
        return path, "holds"
    if path.startswith(f"{HOLDS}/") and path.endswith("/release"):
        return path, "release"
    if not path.startswith(ACCOUNTS):
        return path, "other"
    account = path.removeprefix(ACCOUNTS)
    route = "entries" if account.endswith(_ENTRIES) else "account"
    name = unquote_to_bytes(account.removesuffix(_ENTRIES)).decode("utf-8", "replace")
    segment = quote(name, safe="")
    return f"{ACCOUNTS}{segment}{_ENTRIES if route == 'entries' else ''}", route


def account_of(segment: str) -> str:
    """Return the account that a segment of a routed path means."""
    return unquote_to_bytes(segment).decode("utf-8", "replace").replace("\0", REPLACEMENT)


def _allowed(may: str, route: str, *, post_entries: bool) -> bool:
    if post_entries:
        return may == _MAY_POST
    return may == _MAY_ASK or route in {"account", "entries"}


def _counted(send: Send, route: str) -> Send:
    async def counting(message: Message) -> None:
        if message["type"] == "http.response.start":
            metrics.REQUESTS.labels(route, str(message["status"])).inc()
        await send(message)

    return counting


async def _body(receive: Receive) -> bytes | None:
    """Return the whole body; None where it is too large.

    Raises `ClientDisconnect` where the client has gone before its end: what came may be an ask.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > MOST_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def again(body: bytes, receive: Receive) -> Receive:
    """Return what hands out a body that was read, in one piece, and then what comes behind it."""
    rest = [body]

    async def receiving() -> Message:
        if rest:
            return {"type": "http.request", "body": rest.pop(), "more_body": False}
        return await receive()

    return receiving


async def _refuse(send: Send, status: int, kind: str, message: str) -> None:
    body = msgspec.json.encode({"error": {"message": message, "type": kind}})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        # A stranger keeps no connection.
        (b"connection", b"close"),
    ]
    if status == 401:  # noqa: PLR2004 - of HTTP
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _digest(token: bytes) -> bytes:
    return sha256(token).digest()
