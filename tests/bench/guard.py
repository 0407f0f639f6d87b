"""The spend guard: how long an ask waits for its answer, and how many holds a hot account takes."""

from typing import Final

import psutil
import psycopg

from tests.bench import pgbench, processor
from tests.bench.figures import Comparison, Figures, Target
from tests.bench.load import Answered, Load
from tests.bench.processor import MICRO
from tests.bench.sending import send
from tests.bench.services import Gateway, Services
from tests.bench.sizes import Size
from tests.observers.credits import unbalanced

_MANY: Final = 1_000
_RATE: Final = 500
_CONNECTIONS: Final = 64
"""As many calls as LiteLLM's processes ask for at once."""
_P99_MS: Final = Target(15, at_least=False, of_ratio=False)
_GRANTED: Final = 10**15
_OPEN: Final = """
WITH opened AS (
    INSERT INTO billing.credit_accounts (billing_account_id, kind, balance, "limit")
    SELECT 'acct-' || number, 'prepaid', %(granted)s, 0 FROM generate_series(0, %(last)s) AS number
    RETURNING billing_account_id
)
INSERT INTO billing.credit_entries (billing_account_id, reason, reference, amount, balance)
SELECT billing_account_id, 'grant', billing_account_id, %(granted)s, %(granted)s FROM opened
"""


def measure(services: Services, size: Size) -> list[Comparison]:
    """Milliseconds at a steady rate, and holds a second as fast as they are answered."""
    return [
        row
        for accounts, name in ((_MANY, f"{_MANY:,} accounts"), (1, "one hot account"))
        for row in _waits(services, size, accounts, name)
    ] + _rates(services, size)


def _waits(services: Services, size: Size, accounts: int, name: str) -> list[Comparison]:
    answered = list[Answered]()
    for _ in range(size.rounds):
        with services.database() as url:
            _open(url, accounts)
            with services.guard(url) as guard:
                answered.append(_ask(guard, size, accounts, _RATE))
            _check(url, _count(answered[-1]))
    what = f"spend guard at {_RATE} holds/s, {name}"
    return [
        Comparison(
            f"{what}: p50", "ms", Figures("from due to 200", _milliseconds(answered, "p50"))
        ),
        Comparison(
            f"{what}: p99",
            "ms",
            Figures("from due to 200", _milliseconds(answered, "p99")),
            target=_P99_MS,
        ),
    ]


def _rates(services: Services, size: Size) -> list[Comparison]:
    ours, limit, cpu = list[float](), list[float](), list[float]()
    for _ in range(size.rounds):
        with services.database() as url:
            _open(url, 1)
            with services.guard(url) as guard:
                process = psutil.Process(guard.process.pid)
                before = processor.cpu_seconds(process)
                answered = _ask(guard, size, 1)
                used = processor.cpu_seconds(process) - before
            _check(url, _count(answered))
        ours.append(answered.per_second)
        cpu.append(used * MICRO / _count(answered))
        with services.database() as url:
            _open(url, _MANY)
            placed = pgbench.place(url, _MANY, size.seconds, services.directory)
            _check(url, placed.holds)
        limit.append(placed.per_second)
    what = f"spend guard, one hot account, {_CONNECTIONS} connections"
    return [
        Comparison(
            what,
            "holds/s",
            Figures("one process, over HTTP", tuple(ours)),
            Figures(f"pgbench, its statements, {_MANY:,} accounts", tuple(limit)),
            Target(0.5),
        ),
        Comparison(
            f"{what}: its process", "CPU µs/hold", Figures("the guard's process", tuple(cpu))
        ),
    ]


def _ask(guard: Gateway, size: Size, accounts: int, rate: float = 0) -> Answered:
    load = Load(
        port=guard.port,
        token=guard.token,
        connections=_CONNECTIONS,
        seconds=size.seconds,
        rate=rate,
        warm_up=size.seconds / 5,
        accounts=accounts,
    )
    return send(load, "200")


def _count(answered: Answered) -> int:
    return sum(answered.statuses.values())


def _milliseconds(answered: list[Answered], which: str) -> tuple[float, ...]:
    return tuple(getattr(one, which) * 1_000 for one in answered)


def _open(url: str, accounts: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(_OPEN, {"granted": _GRANTED, "last": accounts - 1})


def _check(url: str, holds: int) -> None:
    """Every answer was a hold of its own, and balances and holds add up."""
    with psycopg.connect(url) as connection:
        if wrong := unbalanced(connection):
            raise AssertionError(f"the credits do not add up: {wrong[:3]}")
        row = connection.execute("SELECT count(*) FROM billing.credit_holds").fetchone()
    if row != (holds,):
        raise AssertionError(f"{holds} holds were placed, and {row} are there")
