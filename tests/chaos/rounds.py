"""Rounds: load, a fault, mending, a probe, and the audit of the books."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Self

import psycopg

from tests.chaos.books import Books, Call, Fate, Sender
from tests.chaos.fault import Fault
from tests.chaos.faults import FAULTS
from tests.chaos.fleet import Fleet
from tests.chaos.guarded import Guarded
from tests.chaos.process import Exit
from tests.chaos.watchman import JOBS, Watchman
from tests.chaos.witness import Witness
from tests.observers.credits import unbalanced
from tests.waiting import eventually

CLEAN_SECONDS = 90.0
PROBE_SECONDS = 90.0
LOAD_SECONDS = 0.4
TOLD_SECONDS = 15.0
ALARMING = frozenset({
    "BillingConsumerRecordsExpired",
    "BillingGatewayFails",
    "BillingGatewaySpoolDamaged",
    "BillingGatewaySpoolMissing",
    "BillingGatewaySpoolRefused",
    "BillingLedgerBehind",
    "BillingLedgerLostRecords",
    "BillingReceiptConflict",
})  # fmt: skip
"""Alerts that no fault may bring about unless it says so: they tell of money, not of waiting."""

Row = tuple[object, ...]


@dataclass
class Tally:
    """What the rounds of one fault came to. Recovery is in seconds, one entry a fault.

    `exits` counts the processes that ended though nobody ended them; `told` in how many rounds
    each alert and each missing dependency was seen, `untold` what had to be seen and was not, and
    what must not be seen and was.
    """

    faults: int = 0
    accepted: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    exits: int = 0
    untold: int = 0
    told: dict[str, int] = field(default_factory=dict)
    recovery: list[float] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Take over what another one has counted."""
        self.faults += other.faults
        self.accepted += other.accepted
        self.lost += other.lost
        self.doubled += other.doubled
        self.wrong += other.wrong
        self.exits += other.exits
        self.untold += other.untold
        self.told = dict(Counter(self.told) + Counter(other.told))
        self.recovery += other.recovery


@dataclass(frozen=True)
class Audit:
    """The differences between the books and the world; empty lists where they agree."""

    lost: list[str]
    doubled: list[str]
    wrong: list[str]
    conflicts: int
    exits: list[Exit] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether everything agrees."""
        found = (self.lost, self.doubled, self.wrong, self.conflicts, self.exits, self.untold)
        return not any(found)


class Rounds:
    """Injects faults into a fleet under load and audits after each.

    Args:
        fleet: that serves.
        watchman: who watches over it.
        seed: of the load and of what is chance in a fault.
    """

    def __init__(self, fleet: Fleet, watchman: Watchman, seed: int) -> None:
        self._fleet = fleet
        self._chance = random.Random(seed)  # noqa: S311 - a schedule, no secret
        self.books = Books(seed)
        self._sender = fleet.sender = Sender(fleet.gateway_url, fleet.token, self.books)
        self.guarded = Guarded(fleet.guard_url, self._sender, seed)
        self._watchman = watchman
        self._witness = Witness(
            fleet.kafka.bootstrap, fleet.topics.receipts.name, fleet.topics.dead_letters.name
        )
        self._booked = self._found = self._letters = 0
        self._forgets = False
        self.tallies: dict[str, Tally] = {name: Tally() for name in FAULTS}

    def __enter__(self) -> Self:
        """Begin to watch the topics."""
        self._witness.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the load and the watch."""
        self._sender.stop()
        self.guarded.stop()
        self._witness.stop()

    def run(self, name: str) -> Audit:
        """One fault under load: inject, mend, measure the recovery, wait, audit."""
        fault, tally = FAULTS[name], self.tallies[name]
        # A process that starts while what it needs is away ends, which is no finding.
        for process in self._fleet.processes:
            eventually(process.is_ready, f"{process.name} to be ready")
        self.books.turn_over()
        self._letters = len(self._witness.letters)
        self._watchman.begin(fault.alerts | ALARMING)
        self._forgets = fault.forgets
        self._sender.start()
        try:
            self.guarded.start()
            time.sleep(self._chance.uniform(0, LOAD_SECONDS))
            fault.inject(self._fleet, self._chance)
            self._fleet.mend()
            tally.recovery.append(self._recovery())
            eventually(self.guarded.is_served, "a hold behind the fault", PROBE_SECONDS)
        finally:
            self._sender.stop()
            self.guarded.stop()
        self.guarded.settle(all_=fault.forgets)
        tally.faults += 1
        tally.accepted += len(self.books.accepted)
        audit = self._wait_and_audit(fault)
        self._keep(tally, audit)
        self._booked += self._found
        return audit

    def _keep(self, tally: Tally, audit: Audit) -> None:
        tally.lost += len(audit.lost)
        tally.doubled += len(audit.doubled)
        tally.wrong += len(audit.wrong) + audit.conflicts
        tally.exits += len(audit.exits)
        tally.untold += len(audit.untold)
        missing = {f"/readyz {name}" for room in JOBS for name in self._watchman.missing(room)}
        tally.told = dict(Counter(tally.told) + Counter(missing | self._watchman.alerts))

    def _recovery(self) -> float:
        """Seconds from the end of the fault to the receipts of new calls in every partition."""
        began = time.monotonic()
        probes = [self.books.make(Fate.RECEIPT) for _ in range(4 * self._partitions())]
        self._sender.post_until_taken(probes, PROBE_SECONDS)
        keys = [probe.response_id for probe in probes]

        def there() -> bool:
            self._fleet.mend()
            return self._fleet.receipts_of(keys) == len(keys)

        eventually(there, "the receipts of the probes", PROBE_SECONDS)
        return time.monotonic() - began

    def _partitions(self) -> int:
        return self._fleet.topics.callbacks.partitions

    def _wait_and_audit(self, fault: Fault) -> Audit:
        """Wait until everything accepted has its outcome, then look for anything that is not."""
        clean = _until(lambda: self._audit().clean, CLEAN_SECONDS)
        books = Audit([], [], [], 0) if clean else self._audit()
        _until(lambda: not self._unseen(fault), TOLD_SECONDS)
        exits = [exit_ for exit_ in self._fleet.exits() if fault.ends.get(exit_.room) != exit_.code]
        return replace(books, exits=exits, untold=[*self._unseen(fault), *self._alarming(fault)])

    def _unseen(self, fault: Fault) -> list[str]:
        """What had to be told of a fault and was not."""
        alerts = sorted(fault.alerts - self._watchman.alerts)
        return [f"no {alert}" for alert in alerts] + [
            f"no /readyz of a {room} said {name}"
            for room, name in fault.missing.items()
            if name not in self._watchman.missing(room)
        ]

    def _alarming(self, fault: Fault) -> list[str]:
        """What was told and must not be."""
        alerts = sorted((ALARMING - fault.alerts) & self._watchman.alerts)
        return alerts if fault.fails_livez else [*alerts, *self._watchman.failing()]

    def _audit(self) -> Audit:
        """Compare this round with its books, and everything with the sum of all rounds."""
        try:
            receipts, deferred, (all_receipts, conflicts), credits_ = self._found_in_database()
        except psycopg.OperationalError:
            receipts, deferred, (all_receipts, conflicts), credits_ = [], [], (-1, -1), []
        accepted = self.books.accepted.values()
        events = self._witness.events
        lost = [
            *_missing(accepted, Fate.RECEIPT, {row[0] for row in receipts}),
            *_missing(accepted, Fate.DEFERRED, {row[0] for row in deferred}),
            *(f"no event for {row[0]}" for row in receipts if str(row[2]) not in events),
            *self._missing_letters(),
        ]
        books = {**self.books.doubtful, **self.books.accepted}
        wrong = [*credits_, *_wrong(receipts, deferred, books, events)]
        if all_receipts != self._booked + len(receipts) or len(events) != all_receipts:
            wrong.append(
                f"{all_receipts} receipts and {len(events)} events in all, "
                f"{self._booked} + {len(receipts)} in the books"
            )
        doubled = [*self._witness.doubled, *_repeated(row[0] for row in receipts)]
        self._found = len(receipts)
        return Audit(lost, doubled, wrong, conflicts)

    def _found_in_database(self) -> tuple[list[Row], list[Row], tuple[int, int], list[str]]:
        """The receipts and deferrals of this round; how many receipts and conflicts there are.

        And which of the credits do not add up.
        """
        with psycopg.connect(self._fleet.postgres.url, connect_timeout=2) as connection:
            receipts = connection.execute(
                "SELECT response_id, response_cost_usd::text, id::text FROM billing.charge_receipts"
                " WHERE run_id = ANY(%s)",
                [self.books.runs],
            ).fetchall()
            deferred = connection.execute(
                "SELECT response_id FROM billing.deferred_calls WHERE run_id = ANY(%s)",
                [self.books.runs],
            ).fetchall()
            [totals] = connection.execute(
                "SELECT (SELECT count(*) FROM billing.charge_receipts),"
                " (SELECT count(*) FROM billing.receipt_conflicts)"
            ).fetchall()
            credits_ = unbalanced(connection)
            credits_ += self.guarded.wrong(connection, forgets=self._forgets)
        return receipts, deferred, totals, credits_

    def _missing_letters(self) -> list[str]:
        """Each acceptance of a bad call is one record, so it is one dead letter at the least."""
        bad = sum(call.fate is Fate.PARKED for call in self.books.accepted.values())
        letters = len(self._witness.letters) - self._letters
        return [f"{bad} parked, {letters} letters"] if letters < bad else []


def _missing(calls: Iterable[Call], fate: Fate, there: set[object]) -> list[str]:
    return [
        f"no {fate} for {call.response_id}"
        for call in calls
        if call.fate is fate and call.response_id not in there
    ]


def _repeated(names: Iterable[object]) -> list[str]:
    return [f"{name}: {count} receipts" for name, count in Counter(names).items() if count > 1]


def _wrong(
    receipts: list[Row],
    deferred: list[Row],
    books: dict[str, Call],
    events: dict[str, str],
) -> list[str]:
    """Whatever nobody sent, or has another amount than the books, digit for digit."""
    found = []
    for response_id, cost, receipt_id in receipts:
        call = books.get(str(response_id))
        if call is None or call.fate is not Fate.RECEIPT:
            found.append(f"a receipt for {response_id}, which is none")
        elif Decimal(str(cost)) != Decimal(call.cost):
            found.append(f"{response_id}: {cost} in the table, {call.cost} in the books")
        elif Decimal(events.get(str(receipt_id), call.cost)) != Decimal(call.cost):
            found.append(f"{response_id}: {events[str(receipt_id)]} on the topic, not {call.cost}")
    found += [
        f"a deferral for {response_id}, which is none"
        for (response_id,) in deferred
        if str(response_id) not in books or books[str(response_id)].fate is not Fate.DEFERRED
    ]
    return found


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether `condition` became true in time."""
    try:
        return eventually(condition, "the books to agree", seconds)
    except TimeoutError:
        return False
