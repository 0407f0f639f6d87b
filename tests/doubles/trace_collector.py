"""A collector of traces: takes OTLP over HTTP, as OpenTelemetry's own exporters send it."""

import gzip
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Told:
    """A part of a trace, its ids in hexadecimal; `links` are pairs of a trace's and a part's."""

    service: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    links: frozenset[tuple[str, str]]
    attributes: Mapping[str, Any]
    error: str


class TraceCollector(ThreadingHTTPServer):
    """Listens on a port of its own."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._lock = Lock()
        self._told: list[Told] = []
        self.bodies: list[bytes] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def told(self, name: str) -> list[Told]:
        """The parts of this name so far."""
        with self._lock:
            return [one for one in self._told if one.name == name]

    def take(self, body: bytes) -> None:
        """Remember what was sent."""
        asked = ExportTraceServiceRequest.FromString(body)
        found = [
            _told(dict(_pairs(resource.resource.attributes)), one)
            for resource in asked.resource_spans
            for scope in resource.scope_spans
            for one in scope.spans
        ]
        with self._lock:
            self.bodies.append(body)
            self._told += found


@contextmanager
def running_collector() -> Iterator[TraceCollector]:
    """A collector that listens while the context lasts."""
    server = TraceCollector()
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: TraceCollector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.take(body)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Stay silent."""


def _told(resource: Mapping[str, Any], one: Any) -> Told:  # noqa: ANN401 - made by protobuf
    return Told(
        service=resource["service.name"],
        name=one.name,
        kind=one.SpanKind.Name(one.kind).removeprefix("SPAN_KIND_"),
        trace=one.trace_id.hex(),
        id=one.span_id.hex(),
        parent=one.parent_span_id.hex(),
        links=frozenset((link.trace_id.hex(), link.span_id.hex()) for link in one.links),
        attributes=dict(_pairs(one.attributes)),
        error=one.status.message,
    )


def _pairs(attributes: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - made by protobuf
    for one in attributes:
        yield one.key, getattr(one.value, one.value.WhichOneof("value"))
