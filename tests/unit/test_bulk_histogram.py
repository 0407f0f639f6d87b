"""A histogram that takes many values at once is told as the library's own, line for line."""

from prometheus_client import CollectorRegistry, Histogram, generate_latest

from runtime.metrics import BulkHistogram

BOUNDS = (0.05, 0.25, 1, 2.5, 86400)
VALUES = [0.0, 0.05, 0.0500001, 0.25, 1.0, 1.5, 86400.0, 86400.5, 1e9]


def told(registry: CollectorRegistry) -> list[str]:
    """What is told, without the moment at which it was made."""
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if not line.startswith("seconds_created ")]


def test_many_values_at_once_are_told_as_one_after_the_other() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    bulk = BulkHistogram("seconds", "How long.", BOUNDS, ours)
    single = Histogram("seconds", "How long.", buckets=BOUNDS, registry=theirs)
    assert told(ours) == told(theirs)
    bulk.observe(VALUES[:4])
    bulk.observe([])
    bulk.observe(VALUES[4:])
    for value in VALUES:
        single.observe(value)
    assert told(ours) == told(theirs)
    assert any(line.startswith("# TYPE seconds_created gauge") for line in told(ours))
