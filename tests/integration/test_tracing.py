"""Traces, from a POST to its receipt's event, as a real collector is told of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.doubles.trace_collector import Told, TraceCollector, running_collector
from tests.inputs import captures
from tests.inputs.callbacks import in_run
from tests.processes.consuming import CALLBACKS, RECEIPTS, Consuming, Member
from tests.processes.gateway import AUTHORIZED, CALLBACKS_PATH, Gateway
from tests.waiting import eventually

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
FAMILIES: Callable[[str], Iterable[Metric]] = text_string_to_metric_families
CONTENT = "a prompt that nobody may read"


@pytest.fixture
def collector() -> Iterator[TraceCollector]:
    """A collector that runs."""
    with running_collector() as running:
        yield running


def switched_on(url: str) -> dict[str, str]:
    """The settings of processes that tell their traces."""
    return {
        "BILLING_TRACES": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1000",
    }


def member_of(consuming: Consuming, told: Mapping[str, str]) -> Member:
    """A member that has partitions."""
    return consuming.member(ready=True, program=("consumer", "run"), **told)


def post(gateway: Gateway, body: bytes, flags: str = "01") -> None:
    """Send callbacks as part of a trace."""
    parent = f"00-{TRACE}-{CALLER}-{flags}"
    sent = {**AUTHORIZED, "traceparent": parent}
    answer = gateway.client.post(gateway.url + CALLBACKS_PATH, content=body, headers=sent)
    assert answer.status_code == 202, answer.text


def the(collector: TraceCollector, name: str, count: int = 1) -> list[Told]:
    """The parts of this name, as soon as there are so many."""
    eventually(lambda: len(collector.told(name)) >= count, f"{count} x {name}")
    return collector.told(name)


def exemplars(member: Member) -> list[str]:
    """The traces that are named beside the delay of receipts."""
    asked = {"accept": "application/openmetrics-text"}
    text = httpx.get(f"{member.metrics_url}/metrics", headers=asked, trust_env=False).text
    return [
        sample.exemplar.labels["trace_id"]
        for family in FAMILIES(text)
        for sample in family.samples
        if sample.exemplar and family.name == "billing_consumer_receipt_delay_seconds"
    ]


def test_a_call_is_told_from_its_request_to_the_event_of_its_receipt(
    consuming: Consuming, collector: TraceCollector
) -> None:
    told = switched_on(collector.url)
    callbacks, receipts = consuming.prefix + CALLBACKS, consuming.prefix + RECEIPTS
    body = captures.array(
        [
            in_run(1, messages=[{"role": "user", "content": CONTENT}]),
            in_run(2),
            in_run(3, status=7, error_str=CONTENT),
        ]
    )
    gateway = Gateway(consuming.bootstrap, consuming.prefix, consuming.directory, **told)
    with gateway.running():
        member = member_of(consuming, told)
        post(gateway, body)
        consuming.all_committed()
        [request] = the(collector, f"POST {CALLBACKS_PATH}")
        assert (request.service, request.kind) == ("billing-gateway", "SERVER")
        assert (request.trace, request.parent) == (TRACE, CALLER)
        assert request.attributes["http.response.status_code"] == 202
        [sent] = the(collector, f"send {callbacks}")
        assert (sent.kind, sent.trace, sent.parent) == ("PRODUCER", TRACE, request.id)
        batches = the(collector, f"process {callbacks}")
        written, published = the(collector, "write receipts"), the(collector, f"send {receipts}")
        assert {link for batch in batches for link in batch.links} == {(TRACE, sent.id)}
        assert {batch.service for batch in batches} == {"billing-consumer"}
        ids = {batch.id for batch in batches}
        assert {one.parent for one in written} == {one.parent for one in published} == ids
        assert sum(one.attributes["billing.receipts"] for one in written) == 2
        events = {one.headers["traceparent"][:-3].decode() for one in consuming.events()}
        assert events <= {f"00-{one.trace}-{one.id}" for one in published}
        assert events
        assert exemplars(member) == [TRACE]
        assert member.end() == 0
    assert len(consuming.dead_letters()) == 1
    assert not [body for body in collector.bodies if CONTENT.encode() in body]


def test_who_keeps_no_trace_is_told_of_none(
    consuming: Consuming, collector: TraceCollector
) -> None:
    told = switched_on(collector.url)
    gateway = Gateway(consuming.bootstrap, consuming.prefix, consuming.directory, **told)
    with gateway.running():
        member = member_of(consuming, told)
        post(gateway, captures.array([in_run(1)]), flags="00")
        consuming.all_committed()
        the(collector, f"process {consuming.prefix}{CALLBACKS}")
        assert not collector.told(f"POST {CALLBACKS_PATH}")
        assert exemplars(member) == []


def test_nobody_waits_for_a_collector_that_is_away(consuming: Consuming) -> None:
    told = switched_on("http://127.0.0.1:9")
    gateway = Gateway(consuming.bootstrap, consuming.prefix, consuming.directory, **told)
    with gateway.running():
        member = member_of(consuming, told)
        for number in range(20):
            post(gateway, captures.array([in_run(number)]))
        consuming.all_committed()
        assert len(consuming.tables.receipts()) == 20
        assert member.end() == 0
