"""The HTTP endpoints: a body comes in, and 202 goes out once all of it is durable.

LiteLLM takes every 4xx as final and by default never retries a 5xx either, so whatever can be
stored is accepted, and what cannot be billed is parked. It waits for the answer: on versions up to
1.106 the events it collects meanwhile are lost, so nothing happens here that need not.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Final, TypeAlias

import msgspec
import structlog
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from producer_gateway.admission import (
    Authenticator,
    Body,
    Headers,
    InFlight,
    RefusedError,
    valid_traceparent,
)
from producer_gateway.deadline import Deadline
from producer_gateway.metrics import Metrics
from producer_gateway.records import Envelope, Prepared, Preparer
from producer_gateway.settings import Content, Settings
from producer_gateway.store import NotStoredError, Record, Store, Stored
from schemas.topics import Topics
from schemas.usage import UsageUnit

_LOG: Final = structlog.get_logger(__name__)
_RETRY_AFTER_S: Final = 1
_PLAIN_BYTES: Final = 4 * 1024 * 1024
_THREAD_BYTES: Final = 256 * 1024
_THREAD_BYTES_DROPPING: Final = 16 * 1024
"""Bodies from here on are cut in a thread: it takes over a millisecond, which others would feel.

A plain one of a few megabytes takes as little; a thread would be given the interpreter for longer.
"""
_MAX_CONTENT_TYPE: Final = 200
_UNIT: Final = TypeAdapter(UsageUnit)
_UNITS: Final = TypeAdapter(list[UsageUnit])

_Take: TypeAlias = Callable[[Envelope, bytes], Awaitable[Response]]


class Gateway:
    """Handles the requests of one process; framework-free but for request and response."""

    def __init__(self, settings: Settings, topics: Topics, metrics: Metrics, store: Store) -> None:
        self._settings = settings
        self._metrics = metrics
        self._store = store
        self._authenticator = Authenticator(settings.tokens(), metrics)
        self._in_flight = InFlight(settings.max_inflight_bytes, metrics)
        dropping = settings.content is Content.DROP
        self._preparer = Preparer(topics, drop_content=dropping)
        self._plain_bytes = _THREAD_BYTES_DROPPING if dropping else _PLAIN_BYTES
        self._thread_bytes = _THREAD_BYTES_DROPPING if dropping else _THREAD_BYTES
        self._deadline = Deadline(settings.body_timeout_s)
        self._usage_units_topic = topics.usage_units.name

    async def callbacks(self, request: Request) -> Response:
        """Take a body of callbacks; 202 when every element is durable."""
        return await self._answer(request, "callbacks", self._take_callbacks)

    async def usage_units(self, request: Request) -> Response:
        """Take one usage unit or a list of them; 202 when all are durable, 422 if one is wrong."""
        return await self._answer(request, "usage_units", self._take_usage_units)

    async def _answer(self, request: Request, route: str, take: _Take) -> Response:
        started = perf_counter()
        headers = dict(reversed(request.scope["headers"]))
        try:
            source = self._authenticator.source(headers.get(b"authorization"))
            with Body(
                headers,
                request.receive,
                self._in_flight,
                self._settings.max_body_bytes,
                self._deadline,
            ) as body:
                raw = await body.read()
                self._metrics.received_bytes.inc(len(raw))
                response = await take(_envelope(headers, source), raw)
        except RefusedError as error:
            response = self._refusal(route, error)
        except NotStoredError as error:
            self._metrics.not_stored.labels(error.reason).inc()
            _LOG.error("not_stored", route=route, reason=error.reason, detail=str(error))
            response = _error(503, error.reason, str(error))
        except Exception:
            self._metrics.requests.labels(route, "500").inc()
            raise
        self._metrics.requests.labels(route, str(response.status_code)).inc()
        self._metrics.request_seconds.observe(perf_counter() - started)
        return response

    def _refusal(self, route: str, error: RefusedError) -> Response:
        if error.reason == "abandoned":
            self._metrics.abandoned.inc()
        elif error.status == 503:  # noqa: PLR2004 - named in the design's table of answers
            self._metrics.not_stored.labels(error.reason).inc()
        _LOG.warning("refused", route=route, status=error.status, reason=error.reason)
        return _error(error.status, error.reason, str(error))

    async def _take_callbacks(self, envelope: Envelope, body: bytes) -> Response:
        prepared = await self._prepared(body, envelope)
        stored = await self._stored(prepared.records)
        self._count(prepared)
        return _json(
            {
                "accepted": prepared.accepted,
                "parked": sum(prepared.parked.values()),
                "spooled": stored.spooled,
            },
            202,
        )

    async def _prepared(self, body: bytes, envelope: Envelope) -> Prepared:
        if len(body) < self._plain_bytes and (prepared := self._preparer.plainly(body, envelope)):
            return prepared
        if len(body) < self._thread_bytes:
            return self._preparer.thoroughly(body, envelope)
        return await asyncio.to_thread(self._preparer.prepare, body, envelope)

    async def _take_usage_units(self, envelope: Envelope, body: bytes) -> Response:
        try:
            listed = body.lstrip()[:1] == b"["
            units = _UNITS.validate_json(body) if listed else [_UNIT.validate_json(body)]
        except ValidationError as error:
            problems = error.errors(include_url=False, include_input=False, include_context=False)
            return _json({"error": "invalid", "detail": problems[:20]}, 422)
        headers = envelope.headers()
        stored = await self._stored(
            [
                Record(
                    self._usage_units_topic, unit.key(), unit.model_dump_json().encode(), headers
                )
                for unit in units
            ]
        )
        self._metrics.usage_units.inc(len(units))
        return _json({"accepted": len(units), "parked": 0, "spooled": stored.spooled}, 202)

    async def _stored(self, records: list[Record]) -> Stored:
        with self._metrics.store_seconds.time():
            return await self._store.store(records)

    def _count(self, prepared: Prepared) -> None:
        elements = self._metrics.elements
        elements.labels("accepted").inc(prepared.accepted)
        if prepared.nulls:
            elements.labels("null").inc(prepared.nulls)
        if prepared.lenient:
            self._metrics.lenient_elements.inc(prepared.lenient)
        for reason, count in prepared.parked.items():
            elements.labels("parked").inc(count)
            self._metrics.parked.labels(reason).inc(count)
        for reason, count in prepared.content_dropped.items():
            self._metrics.content_dropped.labels(reason).inc(count)


def _envelope(headers: Headers, source: str) -> Envelope:
    return Envelope(
        source=source,
        content_type=headers.get(b"content-type", b"").decode("latin-1")[:_MAX_CONTENT_TYPE],
        traceparent=valid_traceparent(headers.get(b"traceparent")),
    )


def _json(content: object, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(content), status, headers, "application/json")


def _error(status: int, reason: str, detail: str) -> Response:
    headers = {
        401: {"WWW-Authenticate": "Bearer"},
        415: {"Accept-Encoding": "identity"},
        503: {"Retry-After": str(_RETRY_AFTER_S)},
    }.get(status)
    return _json({"error": reason, "detail": detail}, status, headers)
