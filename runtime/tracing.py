"""Traces: what OpenTelemetry is told, where an operator has switched it on.

Off, which is the default, its SDK is not imported and no record gets another header.
Where it sends to, and how much, is said by OpenTelemetry's own variables. What is told holds no
content: ids, counts, topics and the kinds of errors, never their texts, which may quote a record.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from runtime import VERSION
from runtime.environment import ConfigurationError
from schemas.headers import TRACEPARENT, FoundHeaders

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, SpanContext, SpanKind
    from opentelemetry.util.types import AttributeValue

_CLOSE_SECONDS: Final = 2.0
MOST_LINKS: Final = 128
"""Of one part of a trace to others; OpenTelemetry's own limit."""


class Tracing(BaseSettings):
    """Whether traces are told."""

    billing_traces: Literal["off", "otlp"] = Field(
        default="off",
        description="Whether traces are sent by OTLP over HTTP, to where OpenTelemetry's own "
        "variables say (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`). Needs the extra "
        "`tracing`, which the image has.",
    )


class Traces:
    """What one process tells. For any thread.

    Args:
        provider: of OpenTelemetry's tracers.
    """

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import trace  # noqa: PLC0415 - not imported where traces are off

        self._trace = trace
        self._provider = provider
        self._tracer = provider.get_tracer("billing-stream", VERSION)

    @contextmanager
    def part(
        self,
        name: str,
        kind: "Literal['SERVER', 'CLIENT', 'PRODUCER', 'CONSUMER']",
        attributes: "Mapping[str, AttributeValue]",
        *,
        parent: str | None = None,
    ) -> "Iterator[Span]":
        """Tell of what is done within, as a part of what is under way in this thread or task.

        `parent` is a `traceparent` that it is a part of instead. What is raised is told by the name
        of its class.
        """
        context = None if parent is None else _context(parent)
        with self._tracer.start_as_current_span(
            name,
            context,
            self._kind(kind),
            attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except BaseException as error:
                self.failed(span, error)
                raise

    def begin(
        self,
        name: str,
        kind: "Literal['SERVER', 'CLIENT', 'PRODUCER', 'CONSUMER']",
        attributes: "Mapping[str, AttributeValue]",
        parents: Sequence[str],
    ) -> "Span":
        """Begin what is not done within one call; whoever begins it ends it.

        It is linked to the first 128 of `parents`.
        """
        found = map(_linked, parents[:MOST_LINKS])
        links = [self._trace.Link(one) for one in found if one.is_valid]
        return self._tracer.start_span(name, None, self._kind(kind), attributes, links)

    @contextmanager
    def within(self, span: "Span") -> Iterator[None]:
        """Make what is told within a part of `span`."""
        with self._trace.use_span(span, record_exception=False, set_status_on_exception=False):
            yield

    def failed(self, span: "Span", error: BaseException) -> None:
        """Tell that it failed, by the name of the error's class."""
        name = type(error).__name__
        span.set_attribute("error.type", name)
        span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, name))

    def close(self) -> None:
        """Send what is not sent yet, for a second or two at most: a stop waits for no collector."""
        ending = Thread(target=self._provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(_CLOSE_SECONDS)

    def _kind(self, name: str) -> "SpanKind":
        return self._trace.SpanKind[name]


def traces(settings: Tracing, room: str, exporter: "SpanExporter | None" = None) -> Traces | None:
    """Return what a process tells its traces by; None where they are off.

    Args:
        settings: of the process.
        room: the process: `gateway`, `consumer`. `OTEL_SERVICE_NAME` goes before it.
        exporter: takes what is told, instead of OTLP.

    Raises:
        ConfigurationError: the extra `tracing` is not installed, or OpenTelemetry's own variables
            make no exporter.
    """
    if settings.billing_traces == "off":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            "BILLING_TRACES=otlp needs the extra `tracing`: pip install 'billing-stream[tracing]'"
        ) from error
    named = os.environ.get("OTEL_SERVICE_NAME") or f"billing-{room}"
    about = Resource.create({"service.name": named, "service.version": VERSION})
    try:
        provider = TracerProvider(resource=about, shutdown_on_exit=False)
        # It drops what it cannot send: nobody waits for a collector.
        provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
    except ValueError as error:
        raise ConfigurationError(f"the OTEL_* variables do not fit: {error}") from error
    return Traces(provider)


def sending(topic: str, count: int) -> "dict[str, AttributeValue]":
    """Return what is told of `count` records that are sent to a topic."""
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
        "messaging.batch.message_count": count,
    }


def parent_in(headers: FoundHeaders) -> str | None:
    """Return the `traceparent` of a record, as it was written; None where it has none."""
    for name, value in headers:
        if name == TRACEPARENT and value:
            return value.decode("ascii", "replace")
    return None


def parent_of(span: "Span") -> str:
    """Return the `traceparent` that makes what others do a part of `span`."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def sampled_in(headers: FoundHeaders) -> str | None:
    """Return the id of a record's trace, 32 hexadecimal digits; None where nobody keeps it."""
    parent = parent_in(headers)
    if parent is None or not (found := _linked(parent)).is_valid:
        return None
    return f"{found.trace_id:032x}" if found.trace_flags.sampled else None


def _context(traceparent: str) -> "Context":
    from opentelemetry.context import Context  # noqa: PLC0415 - as above
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 - as above
        TraceContextTextMapPropagator,
    )

    return TraceContextTextMapPropagator().extract({TRACEPARENT: traceparent}, Context())


def _linked(traceparent: str) -> "SpanContext":
    from opentelemetry import trace  # noqa: PLC0415 - as above

    return trace.get_current_span(_context(traceparent)).get_span_context()
