"""What the gateway refuses: each answer that is no 2xx is counted, and each kind said in the log.

Once a minute a kind: a proxy with a wrong path refuses itself twelve times a minute for days, and
a stranger may do so a thousand times a second.
"""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from producer_gateway.metrics import Metrics
from producer_gateway.request import RefusedError
from producer_gateway.store import NotStoredError

_LOG: Final = structlog.get_logger(__name__)
_LEVEL: Final = logging.getLogger(__name__)
"""A line that nobody wants costs more than to find that out, and a stranger sends thousands."""
_PAUSE_S: Final = 60.0
NOBODY: Final = "unknown"
"""The source of a request without a valid token."""

_SERVER_FAULT: Final = 500
_HEADERS: Final[Mapping[int, Mapping[str, str]]] = {
    401: {"WWW-Authenticate": "Bearer"},
    405: {"Allow": "POST"},
    408: {"Connection": "close"},
    415: {"Accept-Encoding": "identity"},
    503: {"Retry-After": "1"},
}
_MAX_PATH: Final = 100
_LONG_SEGMENT: Final = re.compile(r"[^/]{25,}")
"""No segment of ours is so long, and every token is longer."""

_ID_NAME: Final = b"x-request-id"
_AN_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_ID_BYTES: Final = 8

_ODD: Final = re.compile(r"[^A-Za-z0-9._~/-]")


class Kind(NamedTuple):
    """What refusals of one kind have in common; few values each, none of them a stranger's."""

    route: str
    status: int
    reason: str
    source: str


@dataclass(slots=True)
class _Open:
    """A kind that was logged less than a minute ago."""

    since: float
    path: str = ""
    client: str = ""
    detail: str = ""
    request_id: str = ""
    unsaid: int = 0


class Refusals:
    """Counts refusals and logs them."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._clock = clock
        self._open = dict[Kind, _Open]()

    def answer(
        self, request: Request, route: str, error: RefusedError, source: str = ""
    ) -> Response:
        """Return the answer to a request that is refused."""
        if error.reason in {"abandoned", "slow_body"}:
            self._metrics.abandoned.inc()
        elif error.status == 503:  # noqa: PLR2004 - named in the design's table of answers
            self._metrics.not_stored.labels(error.reason).inc()
        id_ = self.note(request, Kind(route, error.status, error.reason, source))
        return _response(error, id_)

    def not_stored(
        self, request: Request, route: str, error: NotStoredError, source: str
    ) -> Response:
        """Return the answer to a request whose records are nowhere."""
        self._metrics.not_stored.labels(error.reason).inc()
        id_ = self.note(request, Kind(route, 503, error.reason, source), str(error))
        return _response(RefusedError(503, error.reason, str(error)), id_)

    def note(self, request: Request, kind: Kind, detail: str = "") -> str:
        """Count an answer that is no 2xx, and say it unless its kind was said within a minute.

        Where the log takes lines for debugging, each one is said.

        Returns:
            The id of the request: its sender's own, if it has a plain one, or a new one.
        """
        self._metrics.requests.labels(kind.route, str(kind.status)).inc()
        self._metrics.refused.labels(kind.source or NOBODY, str(kind.status), kind.reason).inc()
        now = self._clock()
        seen = self._open.setdefault(kind, _Open(now - _PAUSE_S))
        seen.path = shown(request.scope["path"])
        seen.client = (request.scope.get("client") or ("",))[0]
        seen.detail = detail
        seen.request_id = _request_id(request)
        seen.unsaid += 1
        if _LEVEL.isEnabledFor(logging.DEBUG):
            _LOG.debug("refused_one", request_id=seen.request_id, path=seen.path, **kind._asdict())
        if now - seen.since >= _PAUSE_S:
            self._say(kind, seen, now)
        return seen.request_id

    def say_rest(self) -> None:
        """Say what was kept back over a minute ago, and forget the kinds that have ended."""
        now = self._clock()
        for kind, seen in list(self._open.items()):
            if now - seen.since < _PAUSE_S:
                continue
            if seen.unsaid:
                self._say(kind, seen, now)
            else:
                del self._open[kind]

    async def watch(self) -> None:
        """Say the rest of each minute, until cancelled."""
        while True:
            await asyncio.sleep(_PAUSE_S / 4)
            self.say_rest()

    def _say(self, kind: Kind, seen: _Open, now: float) -> None:
        say = _LOG.error if kind.status >= _SERVER_FAULT else _LOG.warning
        say(
            "refused",
            status=kind.status,
            reason=kind.reason,
            route=kind.route,
            source=kind.source or NOBODY,
            path=seen.path,
            client=seen.client,
            request_id=seen.request_id,
            count=seen.unsaid,
            **({"detail": seen.detail} if seen.detail else {}),
        )
        seen.since, seen.unsaid = now, 0


def _response(error: RefusedError, request_id: str) -> Response:
    headers = {**_HEADERS.get(error.status, {}), _ID_NAME.decode(): request_id}
    body = msgspec.json.encode({**error.body, "request_id": request_id})
    return Response(body, error.status, headers, "application/json")


def _request_id(request: Request) -> str:
    for name, value in request.scope["headers"]:
        if name == _ID_NAME and _AN_ID.fullmatch(value):
            return str(value, "ascii")
    return secrets.token_hex(_ID_BYTES)


def shown(path: str) -> str:
    """Return a stranger's path as it may stand in a log: short, plain, and never with a token."""
    return _ODD.sub("?", _LONG_SEGMENT.sub("...", path[: 10 * _MAX_PATH]))[:_MAX_PATH]
