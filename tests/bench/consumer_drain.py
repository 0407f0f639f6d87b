"""Consumer: Kafka to committed receipts, against COPY, against naive ways, and duplicates only."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench import writing
from tests.bench.draining import Drained, check_ledger, cpu_rows, drain, fill
from tests.bench.figures import Comparison, Figures, Target
from tests.bench.payloads import SIZES, Payloads, receipts_among
from tests.bench.services import Services
from tests.bench.sizes import Size
from tests.bench.writing import Rows

_COPY = "COPY of the same rows, committed by batch"
_AT_ONCE = "COPY of the same rows, one commit"
_MANY = "executemany of the same rows"
_SINGLE = "one transaction a row"
_DUPLICATES = "duplicates"
_NEW = "new"


def measure(services: Services, size: Size) -> list[Comparison]:
    """Receipts a second, and duplicates a second."""
    return [row for name, each in SIZES.items() for row in _at(services, size, name, each)]


def _at(services: Services, size: Size, name: str, each: int) -> list[Comparison]:
    measured: dict[str, list[float]] = {}
    drains: dict[str, list[Drained]] = {_NEW: [], _DUPLICATES: []}
    with _filled_twice(services, Payloads("drain", each), size.callbacks) as (first, second):
        for _ in range(size.rounds):
            new, again, rows = _drained(services, size, first, second)
            drains[_NEW].append(new)
            drains[_DUPLICATES].append(again)
            for what, rate in _limits(services, size, rows).items():
                measured.setdefault(what, []).append(rate)
    measured |= {what: [one.rate for one in drained] for what, drained in drains.items()}
    figures = {what: Figures(what, tuple(rates)) for what, rates in measured.items()}
    share = receipts_among(size.callbacks) / size.callbacks
    ours = Figures(
        "Kafka to receipts, events, offsets", tuple(rate * share for rate in figures[_NEW].values)
    )
    consumer = f"consumer, new, {name}"
    return [
        Comparison(consumer, "receipts/s", ours, figures[_COPY]),
        Comparison(consumer, "receipts/s", ours, figures[_AT_ONCE]),
        Comparison(consumer, "receipts/s", ours, figures[_SINGLE]),
        Comparison(consumer, "receipts/s", ours, figures[_MANY]),
        Comparison(
            f"consumer, duplicates only, {name}",
            "callbacks/s",
            figures[_DUPLICATES],
            figures[_NEW],
            Target(0.9),
        ),
        *cpu_rows(consumer, drains[_NEW]),
        *cpu_rows(f"consumer, duplicates only, {name}", drains[_DUPLICATES]),
    ]


@contextmanager
def _filled_twice(services: Services, payloads: Payloads, count: int) -> Iterator[tuple[str, str]]:
    """Two sets of topics that hold the same callbacks, at different offsets of different topics."""
    with services.topics() as first, services.topics() as second:
        for prefix in (first, second):
            fill(services, prefix, payloads, count)
        yield first, second


def _drained(
    services: Services, size: Size, first: str, second: str
) -> tuple[Drained, Drained, Rows]:
    """All calls new, then all of them once more; what was written."""
    with services.database() as url:
        new = drain(services, first, url, size.callbacks)
        check_ledger(url, size.callbacks)
        rows = Rows.of(url)
        again = drain(services, second, url, size.callbacks)
        check_ledger(url, size.callbacks)
    return new, again, rows


def _limits(services: Services, size: Size, rows: Rows) -> dict[str, float]:
    """Receipts a second, by ways of writing the same rows."""
    rates = dict[str, float]()
    with writing.yardstick(services) as url:
        rates[_COPY] = writing.copy(url, rows)
        writing.check(url, rows.count)
    with writing.yardstick(services) as url:
        rates[_AT_ONCE] = writing.copy_at_once(url, rows)
    with writing.yardstick(services) as url:
        rates[_MANY] = writing.many(url, rows)
        writing.check(url, rows.count)
    with writing.yardstick(services) as url:
        rates[_SINGLE] = writing.one_by_one(url, rows, size.single_rows)
    return rates
