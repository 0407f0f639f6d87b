"""The HTTP endpoints: a body comes in, and 202 goes out once all of it is durable.

LiteLLM takes every 4xx as final and by default never retries a 5xx either, so whatever can be
stored is accepted, and what cannot be billed is parked. It waits for the answer: on versions up to
1.106 the events it collects meanwhile are lost, so nothing happens here that need not.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from time import perf_counter, time
from typing import Final, TypeAlias

import msgspec
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from producer_gateway.body import Body, InFlight
from producer_gateway.deadline import Deadline
from producer_gateway.metrics import Metrics
from producer_gateway.preparer import Envelope, Prepared, Preparer
from producer_gateway.refusals import Kind, Refusals
from producer_gateway.request import (
    KNOWN,
    Authenticator,
    Headers,
    RefusedError,
    raise_refusal,
    valid_traceparent,
)
from producer_gateway.routes import CALLBACKS_PATH, PATHS, USAGE_UNITS_PATH
from producer_gateway.settings import Content, Settings
from producer_gateway.store import NotStoredError, Record, Store, Stored
from schemas.topics import Topics
from schemas.usage import UsageUnit

_FAST_BYTES: Final = 4 * 1024 * 1024
_THREAD_BYTES: Final = 256 * 1024
_THREAD_BYTES_DROPPING: Final = 16 * 1024
"""Bodies from here on are cut in a thread: it takes over a millisecond, which others would feel.

On the fast path one of a few megabytes takes as little; a thread would have the interpreter for
longer.
"""
_MAX_CONTENT_TYPE: Final = 200
_WHERE: Final = (
    f"POST callbacks to {CALLBACKS_PATH} (LiteLLM's GENERIC_LOGGER_ENDPOINT is the address of this "
    f"gateway with that path), usage units to {USAGE_UNITS_PATH}"
)
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
        # The largest body must be taken whoever else is there.
        share = max(
            settings.max_body_bytes, int(settings.source_share * settings.max_inflight_bytes)
        )
        self._in_flight = InFlight(settings.max_inflight_bytes, share, metrics)
        self.refusals = Refusals(metrics)
        dropping = settings.content is Content.DROP
        self._preparer = Preparer(topics, drop_content=dropping)
        self._fast_bytes = _THREAD_BYTES_DROPPING if dropping else _FAST_BYTES
        self._thread_bytes = _THREAD_BYTES_DROPPING if dropping else _THREAD_BYTES
        self._deadline = Deadline(settings.body_timeout_s)
        self._usage_units_topic = topics.usage_units.name
        self._accepted = metrics.callbacks.labels("accepted")
        self._taken = {
            route: metrics.requests.labels(route, "202") for route in ("callbacks", "usage_units")
        }
        self._heard = dict[str, float]()
        """When each source's last callbacks became durable."""
        self._limits = dict[str, float]()
        self._limit_silence(settings.silence_limits())

    def received(self) -> int:
        """Return how many bytes of bodies have come since the start."""
        return self._in_flight.received

    def replace_tokens(self, settings: Settings) -> None:
        """From now on take the tokens of `settings` and no others; requests in hand go on."""
        self._authenticator.replace(settings.tokens())
        self._limit_silence(settings.silence_limits())

    def _limit_silence(self, limits: Mapping[str, float]) -> None:
        gauge = self._metrics.silence_limit
        for source in self._limits:
            gauge.remove(source)
        self._limits = {source: limit_s for source, limit_s in limits.items() if limit_s}
        for source, limit_s in self._limits.items():
            gauge.labels(source).set(limit_s)

    async def callbacks(self, request: Request) -> Response:
        """Take a body of callbacks; 202 when every callback is durable."""
        return await self._answer(request, "callbacks", self._take_callbacks)

    async def usage_units(self, request: Request) -> Response:
        """Take one usage unit or a list of them; 202 when all are durable, 422 if one is wrong."""
        return await self._answer(request, "usage_units", self._take_usage_units)

    async def elsewhere(self, request: Request) -> Response:
        """Answer 404, and say which paths there are."""
        error = _lost(404, "unknown_path", f"no such path: {_WHERE}")
        return self.refusals.answer(request, "unknown", error, self._source(request))

    async def astray(self, request: Request) -> Response:
        """Answer 404 to what came to the port of the probes and is none."""
        detail = f"this port has /livez, /readyz and /metrics. At the other one, {_WHERE}"
        error = _lost(404, "wrong_port", detail)
        return self.refusals.answer(request, "probes", error, self._source(request))

    async def unreadable(self, request: Request) -> Response:
        """Answer what the connection could not read as a request, as it says."""
        try:
            raise_refusal(request)
        except RefusedError as refusal:
            return self.refusals.answer(request, "unreadable", refusal)
        raise RuntimeError("the connection found nothing wrong with this request")

    def _source(self, request: Request) -> str:
        return self._authenticator.recognised(_headers(request).get(b"authorization"))

    async def _answer(self, request: Request, route: str, take: _Take) -> Response:
        started, source, headers = perf_counter(), "", _headers(request)
        if request.scope["method"] != "POST":
            error = _lost(405, "method", f"only POST: {_WHERE}")
            return self.refusals.answer(request, route, error, self._source(request))
        try:
            source = self._authenticator.source(headers.get(b"authorization"))
            if "state" in request.scope:
                request.scope["state"][KNOWN] = True
            limit = self._settings.max_body_bytes
            with Body(
                headers, request, source, self._in_flight, limit=limit, deadline=self._deadline
            ) as body:
                received = await body.read()
                self._metrics.received_bytes.inc(len(received))
                response = await take(_envelope(headers, source), received)
        except RefusedError as error:
            return self.refusals.answer(request, route, error, source)
        except NotStoredError as error:
            return self.refusals.not_stored(request, route, error, source)
        except Exception:
            self.refusals.note(request, Kind(route, 500, "failure", source))
            raise
        finally:
            self._metrics.request_seconds.observe(perf_counter() - started)
        self._taken[route].inc()
        return response

    async def _take_callbacks(self, envelope: Envelope, body: bytes) -> Response:
        prepared = await self._prepared(body, envelope)
        stored = await self._stored(prepared.records)
        self._count(prepared)
        if prepared.records:
            self._hear(envelope.source)
        return _Accepted(prepared.accepted, sum(prepared.parked.values()), stored.spooled)

    async def _prepared(self, body: bytes, envelope: Envelope) -> Prepared:
        if len(body) < self._fast_bytes and (prepared := self._preparer.fast(body, envelope)):
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
            raise RefusedError(422, "invalid", problems[:20]) from None
        headers = envelope.headers()
        stored = await self._stored(
            [Record(self._usage_units_topic, unit.key(), unit.value(), headers) for unit in units]
        )
        self._metrics.usage_units.inc(len(units))
        return _Accepted(len(units), 0, stored.spooled)

    async def _stored(self, records: list[Record]) -> Stored:
        started = perf_counter()
        try:
            return await self._store.store(records)
        finally:
            self._metrics.store_seconds.observe(perf_counter() - started)

    def _hear(self, source: str) -> None:
        new = source not in self._heard
        self._heard[source] = time()
        if new:
            gauge = self._metrics.last_callback.labels(source)
            gauge.set_function(partial(self._heard.__getitem__, source))

    def _count(self, prepared: Prepared) -> None:
        self._accepted.inc(prepared.accepted)
        callbacks = self._metrics.callbacks
        if prepared.nulls:
            callbacks.labels("null").inc(prepared.nulls)
        if prepared.lenient:
            self._metrics.lenient_callbacks.inc(prepared.lenient)
        for reason, count in prepared.parked.items():
            callbacks.labels("parked").inc(count)
            self._metrics.parked.labels(reason).inc(count)
        for reason, count in prepared.content_dropped.items():
            self._metrics.content_dropped.labels(reason).inc(count)


def _headers(request: Request) -> Headers:
    return dict(reversed(request.scope["headers"]))


def _lost(status: int, reason: str, detail: str) -> RefusedError:
    return RefusedError(status, reason, detail, {"paths": PATHS})


def _envelope(headers: Headers, source: str) -> Envelope:
    return Envelope(
        source=source,
        content_type=headers.get(b"content-type", b"").decode("latin-1")[:_MAX_CONTENT_TYPE],
        traceparent=valid_traceparent(headers.get(b"traceparent")),
    )


class _Accepted(Response):
    """The answer that everything is durable."""

    def __init__(self, accepted: int, parked: int, spooled: int) -> None:
        said = {"accepted": accepted, "parked": parked, "spooled": spooled}
        super().__init__(msgspec.json.encode(said), 202)

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """Set what each such answer has, and no others."""
        if headers is not None:
            raise ValueError("such an answer has no headers of its own")
        self.raw_headers = [
            (b"content-length", b"%d" % len(self.body)),
            (b"content-type", b"application/json"),
        ]
