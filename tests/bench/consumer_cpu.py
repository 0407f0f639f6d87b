"""Consumer: what a receipt costs, against writing the same rows into tables that stay as they are.

CPU, because it hardly depends on what else the machine does, unlike a rate.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tests.bench import writing
from tests.bench.committing import DECIDE, Committed
from tests.bench.figures import Comparison, Figures, Target
from tests.bench.others import OURS, committed
from tests.bench.payloads import SIZES, Payloads
from tests.bench.services import Services
from tests.bench.sizes import Size
from tests.bench.writing import Rows, Written

CPU: Final = "CPU µs/receipt"
_COPY: Final = "COPY into the tables of 0001: client, PostgreSQL"
_MANY: Final = "executemany into the tables of 0001: client, PostgreSQL"
_SLOWEST: Final = "its slowest single step"
_OF_COPY: Final = Target(3.3, at_least=False)
_OF_MANY: Final = Target(0.45, at_least=False)
_OF_THE_SLOWEST: Final = Target(1.05, at_least=False)
_RATE: Final = {"4 kB": Target(28_000, of_ratio=False)}
_WAL_BYTES: Final = Target(1_150, at_least=False, of_ratio=False)
_TABLE_BYTES: Final = Target(850, at_least=False, of_ratio=False)


@dataclass(frozen=True)
class _Rounds:
    committed: list[Committed] = field(default_factory=list)
    copied: list[Written] = field(default_factory=list)
    many: list[Written] = field(default_factory=list)


def measure(services: Services, size: Size) -> list[Comparison]:
    """CPU by process, wall, bytes of WAL and of tables, at each size of callbacks."""
    return [row for name, each in SIZES.items() for row in _at(services, size, name, each)]


def _at(services: Services, size: Size, name: str, each: int) -> list[Comparison]:
    rounds = _Rounds()
    for number in range(size.rounds):
        payloads = Payloads(f"cpu {number}", each)
        with services.database() as url:
            rounds.committed.append(
                committed(services, OURS, url, payloads, size.committed_callbacks)
            )
            rows = Rows.of(url)
        rounds.copied.append(writing.measured(services, rows, writing.copy))
        rounds.many.append(writing.measured(services, rows, writing.many))
    return _rows(rounds, name)


def _rows(rounds: _Rounds, name: str) -> list[Comparison]:
    def figures(said: str, value: Callable[[Committed], float]) -> Figures:
        return Figures(said, tuple(value(one) for one in rounds.committed))

    def limit(said: str, among: list[Written], value: Callable[[Written], float]) -> Figures:
        return Figures(said, tuple(value(one) for one in among))

    def cpu(written: Written) -> float:
        return written.cpu

    process = "the consumer's process"
    return [
        Comparison(
            f"consumer and PostgreSQL, {name}", CPU,
            figures("both", lambda one: one.process + one.server), limit(_COPY, rounds.copied, cpu),
            _OF_COPY,
        ),
        Comparison(
            f"consumer, {name}", CPU,
            figures(process, lambda one: one.process), limit(_MANY, rounds.many, cpu),
            _OF_MANY,
        ),
        Comparison(
            f"consumer, PostgreSQL's part, {name}", CPU,
            figures("PostgreSQL", lambda one: one.server),
            limit("COPY, PostgreSQL's part", rounds.copied, lambda one: one.server),
        ),
        Comparison(
            f"consumer, the broker's part, {name}", CPU, figures("broker", lambda one: one.broker)
        ),
        Comparison(
            f"consumer, {name}: wall from one callback to the next", "µs",
            figures("first commit to last", lambda one: one.wall),
            figures(_SLOWEST, lambda one: max(one.steps.values())),
            _OF_THE_SLOWEST,
        ),
        *(
            Comparison(
                f"consumer, {name}: step {step}, {'CPU' if step == DECIDE else 'wall'}",
                "µs/callback", figures(step, _taken(step)),
            )
            for step in rounds.committed[0].steps
        ),
        Comparison(
            f"consumer, committed, {name}", "callbacks/s", figures("rate", lambda one: one.rate),
            target=_RATE.get(name),
        ),
        Comparison(
            f"consumer, {name}: WAL", "bytes/receipt", figures("WAL", lambda one: one.wal),
            limit(_COPY, rounds.copied, lambda one: one.wal),
            _WAL_BYTES,
        ),
        Comparison(
            f"consumer, {name}: tables and indexes", "bytes/receipt",
            figures("tables and indexes", lambda one: one.tables),
            limit(_COPY, rounds.copied, lambda one: one.tables),
            _TABLE_BYTES,
        ),
    ]  # fmt: skip


def _taken(step: str) -> Callable[[Committed], float]:
    return lambda one: one.steps[step]
