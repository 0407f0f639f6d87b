"""Our consumer against those that one would write instead: CPU of all processes together."""

from typing import Final

from tests.bench.committing import Committed
from tests.bench.figures import Comparison, Figures, Target
from tests.bench.others import CONSUMERS, EXACT, MANY, OURS, PLAIN, Other, committed
from tests.bench.payloads import SIZES, Payloads
from tests.bench.services import Services
from tests.bench.sizes import Size

_CPU: Final = "CPU µs/receipt"
_AT_MOST: Final = {
    (PLAIN, "4 kB"): 1.0,
    (PLAIN, "14 kB"): 0.9,
    (EXACT, "4 kB"): 0.85,
    (EXACT, "14 kB"): 0.7,
    (MANY, "4 kB"): 0.5,
    (MANY, "14 kB"): 0.5,
}


def measure(services: Services, size: Size) -> list[Comparison]:
    """CPU of consumer, PostgreSQL and broker, and callbacks a second."""
    return [row for name, each in SIZES.items() for row in _at(services, size, name, each)]


def _at(services: Services, size: Size, name: str, each: int) -> list[Comparison]:
    taking: dict[Other, list[Committed]] = {other: [] for other in (OURS, *CONSUMERS)}
    for number in range(size.rounds):
        payloads = Payloads(f"others {number}", each)
        for other, taken in taking.items():
            with other.database(services) as url:
                taken.append(committed(services, other, url, payloads, size.committed_callbacks))
    ours = taking.pop(OURS)
    whole = Figures(OURS.name, tuple(one.cpu for one in ours))
    rate = Figures(OURS.name, tuple(one.rate for one in ours))
    rows = list[Comparison]()
    for other, taken in taking.items():
        used = Figures(other.name, tuple(one.cpu for one in taken))
        target = Target(_AT_MOST[other, name], at_least=False)
        done = Figures(other.name, tuple(one.rate for one in taken))
        rows += [
            Comparison(f"Kafka to PostgreSQL, all processes, {name}", _CPU, whole, used, target),
            Comparison(f"Kafka to PostgreSQL, {name}", "callbacks/s", rate, done),
            *_parts(other, taken, name),
        ]
    return [*_parts(OURS, ours, name), *rows]


def _parts(other: Other, taken: list[Committed], name: str) -> list[Comparison]:
    parts = {
        "its process": [one.process for one in taken],
        "PostgreSQL": [one.server for one in taken],
        "broker": [one.broker for one in taken],
    }
    return [
        Comparison(f"{other.name}, {name}: {part}", _CPU, Figures(part, tuple(values)))
        for part, values in parts.items()
    ]
