"""What is told of traces: nothing unless it is switched on, and never content."""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from charging.outcomes import Charge, Decided, Outcome, OutcomeKind
from consumer.extent import Extent
from consumer.publisher import PublishError
from consumer.tracing import Batches, TracedEvents, TracedLedger
from runtime.environment import ConfigurationError
from runtime.metrics import BulkHistogram
from runtime.tracing import MOST_LINKS, Traces, Tracing, parent_in, sampled_in, traces
from schemas.receipt import ChargeReason
from tests.inputs.callbacks import decided, element

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CONTENT = "a prompt that nobody may read"
ON = Tracing(billing_traces="otlp")


class Told:
    """Traces that stay in memory."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.batches = Batches(Traces(provider), "group")

    def spans(self, name: str) -> Sequence[ReadableSpan]:
        """Those of a name that have ended, in the order in which they did."""
        return [one for one in self._exporter.get_finished_spans() if one.name.startswith(name)]


def test_what_is_off_is_not_even_imported() -> None:
    code = (
        "import sys, consumer.service, producer_gateway.service\n"
        "from runtime.tracing import Tracing, traces\n"
        "assert traces(Tracing(), 'consumer') is None\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry.sdk')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigurationError, match=r"billing-stream\[tracing\]"):
        traces(ON, "consumer")


def test_what_OpenTelemetry_cannot_read_is_a_wrong_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    with pytest.raises(ConfigurationError, match="OTEL_"):
        traces(ON, "consumer")


@pytest.mark.parametrize(
    ("value", "trace"),
    [
        (PARENT, PARENT[3:35]),
        (PARENT[:-2] + "00", None),
        (PARENT.replace("4bf9", "zzzz"), None),
        ("00-" + "0" * 32 + "-00f067aa0ba902b7-01", None),
        ("é" * 40, None),
        ("", None),
    ],
)
def test_a_header_that_names_no_trace_names_none(value: str, trace: str | None) -> None:
    headers = [("other", b"x"), ("traceparent", value.encode()), ("traceparent", b"again")]
    assert sampled_in(headers) == trace
    assert parent_in([("traceparent", None)]) is None


class Books:
    """A ledger that takes everything, or fails."""

    def __init__(self) -> None:
        self.failure: Exception | None = None

    def write(self, batch: Sequence[Decided], published: object = ()) -> list[Outcome]:
        """Take a batch."""
        del published
        if self.failure:
            raise self.failure
        return [outcome(one) for one in batch]

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - what nobody asks for here
        return name


class Topics:
    """A publisher that takes everything, or fails."""

    def __init__(self) -> None:
        self.failure: PublishError | None = None
        self.parents: list[str | None] = []
        self.renew = lambda: None

    def publish(self, *_: object) -> None:
        """Take a batch."""
        self.parents.append(_[3] if len(_) > 3 else None)  # type: ignore[arg-type]
        if self.failure:
            raise self.failure


def outcome(one: Decided) -> Outcome:
    """A new receipt."""
    assert isinstance(one.decision, Charge)
    return Outcome(one, OutcomeKind.CREATED, ChargeReason.USAGE, one.decision.receipt)


def batch(count: int, *parents: str, offset: int = 0) -> list[Decided]:
    """Calls of these traces, in turn."""
    found = [decided(element(), offset=offset + number) for number in range(count)]
    for number, one in enumerate(found):
        if parents:
            parent = parents[number % len(parents)].encode()
            record = msgspec.structs.replace(one.record, headers=[("traceparent", parent)])
            found[number] = Decided(record, one.decision)
    return found


def extent(records: Sequence[Decided]) -> Extent:
    """Where they begin and end."""
    return Extent.of([one.record for one in records])


def test_a_batch_is_linked_to_the_traces_of_its_records_once_each() -> None:
    told, topics = Told(), Topics()
    ledger = TracedLedger(Books(), told.batches)
    events = TracedEvents(topics, told.batches, "receipts")  # type: ignore[arg-type]
    other = PARENT.replace("4bf9", "aaaa")
    calls = batch(9, PARENT, other, "nonsense")
    events.publish(ledger.write(calls), extent(calls), None)

    [span] = told.spans("process")
    assert [f"{link.context.trace_id:032x}"[:4] for link in span.links] == ["4bf9", "aaaa"]
    [written], [sent] = told.spans("write"), told.spans("send receipts")
    assert written.parent == sent.parent == span.context
    assert topics.parents[0] is not None
    assert topics.parents[0].startswith(f"00-{span.context.trace_id:032x}-")
    assert sent.attributes is not None
    assert sent.attributes["messaging.batch.message_count"] == 9


def test_a_batch_has_no_more_links_than_it_may() -> None:
    told = Told()
    parents = [PARENT.replace("4bf92f35", f"{number:08x}") for number in range(1, 301)]
    told.batches.begin(batch(300, *parents)).end()
    assert len(told.spans("process")[0].links) == MOST_LINKS


def test_of_what_fails_the_kind_is_told_and_no_text() -> None:
    told, books, topics = Told(), Books(), Topics()
    books.failure = ValueError(CONTENT)
    ledger = TracedLedger(books, told.batches)
    events = TracedEvents(topics, told.batches, "receipts")  # type: ignore[arg-type]
    calls = batch(2)
    with pytest.raises(ValueError, match=CONTENT):
        ledger.write(calls)
    books.failure, topics.failure = None, PublishError(CONTENT)
    outcomes = ledger.write(calls)
    with pytest.raises(PublishError):
        events.publish(outcomes, extent(calls), None)

    assert [one.status.description for one in told.spans("write")] == ["ValueError", None]
    assert [one.status.description for one in told.spans("process")] == [None, "PublishError"]
    assert CONTENT not in "".join(one.to_json() for one in told.spans(""))


def test_batches_that_are_given_up_end_all_the_same() -> None:
    told = Told()
    ledger = TracedLedger(Books(), told.batches)
    for number in range(20):
        ledger.write(batch(2, offset=10 * number))
    assert len(told.spans("process")) == 12
    ledger.write(batch(2, offset=190))
    assert len(told.spans("process")) == 13, "the former telling of the same batch"


def test_a_batch_that_nobody_has_told_of_is_published_all_the_same() -> None:
    topics = Topics()
    events = TracedEvents(topics, Told().batches, "receipts")  # type: ignore[arg-type]
    calls = batch(1)
    events.publish([outcome(calls[0])], extent(calls), None)
    events.publish([], extent(calls), None)
    assert topics.parents == [None, None]


def test_an_exemplar_stands_beside_the_bucket_that_counts_it() -> None:
    histogram = BulkHistogram("delay_seconds", "x", (1.0, 5.0), registry=CollectorRegistry())
    histogram.observe([0.5, 3.0, 9.0])
    histogram.exemplify(3.0, {"trace_id": "t"})
    [metric] = histogram.collect()
    named = {
        sample.labels["le"]: sample.exemplar for sample in metric.samples if "le" in sample.labels
    }
    assert named["1.0"] is named["+Inf"] is None
    assert named["5.0"] is not None
    assert (named["5.0"].labels, named["5.0"].value) == ({"trace_id": "t"}, 3.0)
