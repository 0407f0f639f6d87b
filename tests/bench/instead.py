"""What each consumer does when something goes wrong: seen, not said.

Each is killed in the middle, gets a record that is no JSON, money beyond a double, and a second
callback that contradicts the first; what it made of them is read from PostgreSQL and Kafka.
"""

import math
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any, Final, LiteralString

import psycopg
from confluent_kafka import Producer

from schemas.topics import load_topics
from tests.bench.draining import (
    LEAST_RATE,
    START_SECONDS,
    DrainError,
    Progress,
    fill,
    until_committed,
)
from tests.bench.others import Other
from tests.bench.payloads import REDACTED, Payloads, receipts_among
from tests.bench.services import Services
from tests.bench.topic import read_all
from tests.processes.process import Server, ServerError
from tests.waiting import eventually

CALLBACKS: Final = 20_000
"""On the topic of the one that is killed: several batches."""
LONG: Final = "0.1234567890123456789012345"
"""More digits than a double has."""
_TOKENS: Final = 1_000
"""Calls of so many tokens, by chance, at prices for a million of them."""
_PRICES: Final = ("0.15", "0.6", "1.1", "2.5", "4.4")
_CREDITS: Final = 10_000_000
BROKEN: Final = b'{"id": "chatcmpl-1", "litellm_call_id": '
_AROUND: Final = 3
"""Good records before the broken one, and after it, in its partition."""
_STARTS: Final = 2
_KEY: Final = b"run-0001"
_RECEIPTS: Final[LiteralString] = "SELECT count(*) FROM billing.charge_receipts"
_CONFLICTS: Final[LiteralString] = "SELECT count(*) FROM billing.receipt_conflicts"
_MONEY: Final[LiteralString] = (
    "SELECT response_id, response_cost_usd::text, charged_credits FROM billing.charge_receipts"
)

HEADINGS: Final = (
    "",
    "`kill -9` in the middle",
    "a record that is no JSON",
    "money beyond a double",
    "a second callback that contradicts the first",
    "events for others",
)
_ROUND: Final = 10
"""Seconds; what a group waits for is a matter of settings, the rest of the machine."""


@dataclass(frozen=True)
class Seen:
    """What a program did, in words, in the order of the headings."""

    name: str
    killed: str
    broken: str
    money: str
    contradicted: str
    events: str

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        return self.name, self.killed, self.broken, self.money, self.contradicted, self.events


def watch(services: Services, other: Other) -> Seen:
    """Have it all happen to a consumer. Raises `DrainError` where it cannot be said what it did."""
    with _trial(services, other) as trial:
        killed, events = _kill(trial)
    with _trial(services, other) as trial:
        broken = _break(trial)
    with _trial(services, other) as trial:
        money = _charge(trial)
    with _trial(services, other) as trial:
        contradicted = _contradict(trial)
    return Seen(other.name, killed, broken, money, contradicted, events)


@dataclass(frozen=True)
class _Trial:
    """A consumer with topics and an empty database of its own."""

    services: Services
    other: Other
    prefix: str
    url: str
    group: str
    progress: Progress

    def running(self) -> AbstractContextManager[Server]:
        return self.other.start(self.services)(self.prefix, self.url, self.group, 0)

    def put(self, *values: bytes) -> None:
        """Produce to one partition, in order."""
        producer = Producer({"bootstrap.servers": self.services.bootstrap, "linger.ms": 0})
        for value in values:
            producer.produce(load_topics(self.prefix).callbacks.name, value, _KEY)
        if left := producer.flush(60):
            raise DrainError(f"{left} records could not be put on the topic")

    def committed(self, process: Server, count: int) -> None:
        until_committed(process, self.progress, count, START_SECONDS + count / LEAST_RATE)

    def count(self, query: LiteralString) -> int:
        ((found,),) = self.rows(query)
        return int(found)

    def rows(self, query: LiteralString) -> list[Any]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query).fetchall()

    def events(self) -> list[bytes | None]:
        topic = load_topics(self.prefix).receipts.name
        return [message.value() for message in read_all(self.services.bootstrap, topic)]

    def dead_letters(self) -> int:
        topic = load_topics(self.prefix).dead_letters.name
        return len(read_all(self.services.bootstrap, topic))


@contextmanager
def _trial(services: Services, other: Other) -> Iterator[_Trial]:
    with services.topics() as prefix, other.database(services) as url:
        group = f"{prefix}{secrets.token_hex(4)}"
        with closing(Progress(services, prefix, group)) as progress:
            yield _Trial(services, other, prefix, url, group, progress)


def _kill(trial: _Trial) -> tuple[str, str]:
    """SIGKILL after its first commit, another one in its place; what was written and published."""
    fill(trial.services, trial.prefix, Payloads("killed", REDACTED), CALLBACKS)
    with trial.running() as process:
        until_committed(process, trial.progress, 1, START_SECONDS)
        process.kill()
    had = trial.progress.callbacks()
    if had >= CALLBACKS:
        raise DrainError("it was killed when all was done")
    with trial.running() as process:
        began = time.monotonic()
        trial.committed(process, had + 1)
        away = time.monotonic() - began
        trial.committed(process, CALLBACKS)
    expected = receipts_among(CALLBACKS)
    return of_receipts(trial.count(_RECEIPTS), expected, away), of_events(trial.events(), expected)


def of_receipts(written: int, expected: int, away: float) -> str:
    """What became of the receipts when a consumer was killed, and when the next one began."""
    lost = f"{written:,} receipts of {expected:,}"
    said = "no receipt lost or doubled" if written == expected else lost
    return f"{said}; the next one begins within {math.ceil(away / _ROUND) * _ROUND} s"


def of_events(events: Sequence[bytes | None], expected: int) -> str:
    """What became of the events then."""
    if not events:
        return "none"
    twice = len(events) - len(set(events))
    if len(events) == expected and not twice:
        return "one for each receipt, across the `kill -9`"
    return f"{len(events):,} for {expected:,} receipts, {twice:,} of them twice"


def of_charges(credits_: Sequence[tuple[int, int]]) -> str:
    """How many charges differ from what they should be, which is given with each."""
    wrong = {charged - right for charged, right in credits_ if charged != right}
    if not wrong:
        return "every charge right"
    count = sum(charged != right for charged, right in credits_)
    how = "a credit too high" if wrong == {1} else "wrong"
    return f"{count} of {len(credits_):,} charges {how}"


def _break(trial: _Trial) -> str:
    """A record that is no JSON between good ones, and a second start where the first ends."""
    good = Payloads("broken", REDACTED)
    before, after = ([good.element(at + each) for each in range(_AROUND)] for at in (0, _AROUND))
    trial.put(*before, BROKEN, *after)
    if not any(_survives(trial, 2 * _AROUND + 1) for _ in range(_STARTS)):
        charged = trial.count(_RECEIPTS)
        return f"ends, each time it is started; {charged} of its {2 * _AROUND} neighbours charged"
    charged, parked = trial.count(_RECEIPTS), trial.dead_letters()
    kept = "kept as a dead letter" if parked else "dropped"
    return f"{kept}; {charged} of its {2 * _AROUND} neighbours charged"


def _survives(trial: _Trial, count: int) -> bool:
    """Start it, and wait until it has committed so many records, or has ended."""
    with trial.running() as process:

        def ended() -> bool:
            try:
                process.check()
            except ServerError:
                return True
            return False

        def committed() -> bool:
            return trial.progress.callbacks() >= count

        eventually(lambda: committed() or ended(), "the last record, or its end", START_SECONDS)
        return committed()


def _charge(trial: _Trial) -> str:
    """A cost of 25 digits, and costs as prices make them."""
    chance, calls = Random(7), Payloads("money", REDACTED)  # noqa: S311 - the same each time
    costs = [Decimal(LONG)] + [
        Decimal(chance.choice(_PRICES)) / 1_000_000 * chance.randrange(1, 5_000)
        for _ in range(_TOKENS)
    ]
    named = {calls.names(number)[0]: cost for number, cost in enumerate(costs)}
    trial.put(*(calls.element(number, f"{cost:f}") for number, cost in enumerate(costs)))
    with trial.running() as process:
        trial.committed(process, len(costs))
    rows = {name: (text, charged) for name, text, charged in trial.rows(_MONEY)}
    if rows.keys() != named.keys():
        raise DrainError(f"{len(rows)} of {len(named)} calls were charged")
    kept, _ = rows[calls.names(0)[0]]
    digits = "every digit kept" if kept == LONG else f"{LONG} became {kept}"
    credits_ = [(charged, math.ceil(named[name] * _CREDITS)) for name, (_, charged) in rows.items()]
    return f"{digits}; {of_charges(credits_)}"


def _contradict(trial: _Trial) -> str:
    """The same call a second time, with another cost."""
    calls = Payloads("contradicted", REDACTED)
    trial.put(calls.element(0, "0.001"), calls.element(0, "0.002"))
    with trial.running() as process:
        trial.committed(process, 2)
    ((_, cost, _),) = trial.rows(_MONEY)
    conflicts = trial.count(_CONFLICTS)
    which = "the first stays" if Decimal(cost) == Decimal("0.001") else "the second replaces it"
    return f"{which}; {'the second is kept as a conflict' if conflicts else 'nobody is told'}"
