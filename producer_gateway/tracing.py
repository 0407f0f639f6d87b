"""Traces of the gateway: a request, and within it what it puts on Kafka.

What a record carries as `traceparent` is the second of them, so that whoever reads the record tells
of itself as what became of this request. Both are part of the trace that the sender names, if it
names one.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from producer_gateway.request import valid_traceparent
from producer_gateway.routes import Endpoints
from producer_gateway.store import Record, Store, Stored
from runtime.tracing import Traces, parent_of, sending
from schemas.headers import TRACEPARENT

_MOST_OF_PATH: Final = 200


class TracedEndpoints:
    """The endpoints, each request told."""

    def __init__(self, endpoints: Endpoints, traces: Traces) -> None:
        self._endpoints = endpoints
        self._traces = traces

    async def callbacks(self, request: Request) -> Response:
        """Take callbacks."""
        return await self._told(request, self._endpoints.callbacks)

    async def usage_units(self, request: Request) -> Response:
        """Take usage units."""
        return await self._told(request, self._endpoints.usage_units)

    async def elsewhere(self, request: Request) -> Response:
        """Refuse a request for a path that does not exist, and tell nothing of it."""
        return await self._endpoints.elsewhere(request)

    async def unreadable(self, request: Request) -> Response:
        """Refuse what the connection could not read as a request, and tell nothing of it."""
        return await self._endpoints.unreadable(request)

    async def _told(
        self, request: Request, endpoint: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        headers = dict(reversed(request.scope["headers"]))
        parent = valid_traceparent(headers.get(b"traceparent"))
        path, method = request.scope["path"][:_MOST_OF_PATH], request.scope["method"]
        asked = {"http.request.method": method, "url.path": path}
        with self._traces.part(f"{method} {path}", "SERVER", asked, parent=parent) as span:
            response = await endpoint(request)
            span.set_attribute("http.response.status_code", response.status_code)
        return response


class TracedStore:
    """A store, each request's records told and told on."""

    def __init__(self, store: Store, traces: Traces) -> None:
        self._store = store
        self._traces = traces

    async def store(self, records: Sequence[Record]) -> Stored:
        """Make `records` durable, each with the trace that it is part of."""
        if not records:
            return await self._store.store(records)
        topic = records[0].topic
        sent = sending(topic, len(records))
        with self._traces.part(f"send {topic}", "PRODUCER", sent) as span:
            told = [_told(record, parent_of(span).encode()) for record in records]
            stored = await self._store.store(told)
            span.set_attribute("billing.spooled", stored.spooled)
        return stored


def _told(record: Record, parent: bytes) -> Record:
    headers = [one for one in record.headers if one[0] != TRACEPARENT]
    return record._replace(headers=[*headers, (TRACEPARENT, parent)])
