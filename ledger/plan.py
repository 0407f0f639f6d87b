"""The plan: what a batch becomes in the ledger, told from what the ledger knows of it. Pure.

`draft` says what a batch is about, `compare` which of its calls are new, `plan` what is written.
Each takes the answer to what the one before has the ledger asked; `apply` asks and writes.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, TypeAlias
from uuid import UUID

import msgspec

from charging.doubles import Success, marked
from charging.outcomes import (
    Charge,
    ConflictReason,
    Decided,
    Deferred,
    DuplicateReason,
    Outcome,
    OutcomeKind,
    OutcomeReason,
    Parked,
    Resolution,
    Settlement,
    Skipped,
    UnitReason,
    Usage,
)
from charging.pairing import Closing
from charging.repeats import repeats
from charging.settlement import charged
from ledger.links import Paired
from ledger.payers import Run, paid, runs_of
from ledger.rows import conflict_row
from schemas.receipt import Receipt
from schemas.record import Provenance, Record

Call: TypeAlias = tuple[str, str]
"""Source system and call key."""

FEW: Final = 100
"""New receipts of a batch that are compared with the ledger as well."""


class Existing(msgspec.Struct, frozen=True, gc=False):
    """The receipt that a call has: from which record it was written, saying what."""

    provenance: Provenance
    content_hash: str
    response_cost_usd: Decimal
    cost_source: str


class Resolved(msgspec.Struct, frozen=True):
    """A deferral to which the receipt of its call brings another resolution than the `former`."""

    call: Call
    former: str | None
    resolution: Resolution
    settlement: Settlement | None


@dataclass(frozen=True, slots=True)
class Draft:
    """A batch by what its records are, each under its ordinal.

    `outcomes` are those of records that no table holds.
    """

    batch: Sequence[Decided]
    charges: Mapping[int, Charge]
    deferrals: Mapping[int, Deferred]
    units: Mapping[int, Usage]
    closings: Sequence[Closing]
    outcomes: Mapping[int, Outcome]


@dataclass(frozen=True, slots=True)
class Compared:
    """A draft whose calls are told apart: `new` are those without a receipt, by the first record.

    `calls` are those of all charges.
    """

    draft: Draft
    calls: Mapping[int, Call]
    existing: Mapping[Call, Existing]
    new: Mapping[Call, int]

    @property
    def requests(self) -> list[str]:
        """The clients' requests of which the ledger may have another success.

        None of a large batch, which is compared with itself only: the callbacks of one request
        come together, and the question would cost as much as the search for receipts.
        """
        charges = self.draft.charges
        found = [charges[ordinal].receipt.litellm_call_id for ordinal in self.new.values()]
        named = [request for request in found if request]
        return named if len(named) <= FEW else []

    @property
    def runs(self) -> list[Run]:
        """The runs that may pay for new receipts."""
        return runs_of(self.draft.charges[ordinal] for ordinal in self.new.values())


@dataclass(frozen=True, slots=True)
class Plan:
    """What is written of a batch, and `outcomes` as far as no answer to a write decides them.

    `receipts` and `conflicts` are in the order in which they are written, so that two members that
    meet on the same calls cannot deadlock. `known` are the receipts that the calls of the batch
    have then, `settlements` says who has set the cost of which by hand.
    """

    batch: Sequence[Decided]
    calls: Mapping[int, Call]
    receipts: Sequence[tuple[Record, Charge]]
    conflicts: Sequence[dict[str, Any]]
    replays: Mapping[int, UUID]
    deferrals: Mapping[int, Deferred]
    units: Mapping[int, Usage]
    closings: Sequence[Closing]
    known: Mapping[Call, Existing]
    settlements: Mapping[Call, Settlement | None]
    outcomes: Mapping[int, Outcome]


@dataclass(frozen=True, slots=True)
class Written:
    """What the ledger answered: ordinals of units and deferrals that were new to it.

    `replayed` are receipts as they stand there.
    """

    units: AbstractSet[int] = frozenset()
    deferrals: AbstractSet[int] = frozenset()
    replayed: Mapping[UUID, Receipt] = field(default_factory=dict)


def draft(paired: Paired) -> Draft:
    """Sort a batch whose background responses are judged."""
    outcomes: dict[int, Outcome] = {}
    charges: dict[int, Charge] = {}
    deferrals: dict[int, Deferred] = {}
    units: dict[int, Usage] = {}
    for ordinal, decided in enumerate(paired.batch):
        match decided.decision:
            case Charge() as charge:
                charges[ordinal] = charge
            case Deferred() as deferred:
                deferrals[ordinal] = deferred
            case Skipped(reason):
                outcomes[ordinal] = Outcome(decided, OutcomeKind.SKIPPED, reason)
            case Parked(reason):
                outcomes[ordinal] = Outcome(decided, OutcomeKind.PARKED, reason)
            case Usage() as usage:
                units[ordinal] = usage
    deferrals |= paired.births
    return Draft(paired.batch, charges, deferrals, units, paired.closings, outcomes)


def compare(drafted: Draft, existing: Mapping[Call, Existing]) -> Compared:
    """Tell new calls from repeated ones; `existing` are the receipts that the calls have."""
    calls: dict[int, Call] = {}
    new: dict[Call, int] = {}
    for ordinal, charge in drafted.charges.items():
        call = (charge.receipt.source_system, charge.receipt.call_key)
        calls[ordinal] = call
        if call not in existing:
            new.setdefault(call, ordinal)
    return Compared(drafted, calls, existing, new)


def plan(
    compared: Compared,
    successes: Sequence[Success],
    accounts: Mapping[Run, str] = MappingProxyType({}),
) -> Plan:
    """Return what is written.

    `successes` are those that the ledger has of the same requests, `accounts` pay for runs.
    """
    drafted, new = compared.draft, compared.new
    batch, outcomes, known = drafted.batch, dict(drafted.outcomes), dict(compared.existing)
    charges = marked({at: paid(drafted.charges[at], accounts) for at in new.values()}, successes)
    for call, ordinal in new.items():
        one, charge = batch[ordinal], charges[ordinal]
        receipt = charge.receipt
        said = (charge.content_hash, receipt.response_cost_usd, receipt.cost_source)
        known[call] = Existing(one.record.provenance, *said)
        outcomes[ordinal] = Outcome(one, OutcomeKind.CREATED, receipt.charge_reason, receipt)
    conflicts: list[dict[str, Any]] = []
    replays: dict[int, UUID] = {}
    if len(new) < len(drafted.charges):
        conflicts, replays = _judge_repeats(compared, known, outcomes)
    return Plan(
        batch=batch,
        calls=compared.calls,
        receipts=sorted(
            ((batch[ordinal].record, charge) for ordinal, charge in charges.items()),
            key=lambda each: each[1].receipt.id.int,
        ),
        conflicts=conflicts,
        replays=replays,
        deferrals=drafted.deferrals,
        units=drafted.units,
        closings=drafted.closings,
        known=known,
        settlements=_settlements(compared, known),
        outcomes=outcomes,
    )


def _judge_repeats(
    compared: Compared, known: Mapping[Call, Existing], outcomes: dict[int, Outcome]
) -> tuple[list[dict[str, Any]], dict[int, UUID]]:
    """Tell duplicates, conflicts and replays apart; return the rows of conflicts, and the replays.

    A replay is read by the very record that wrote the receipt before a crash: its event has to go
    out again, as the ledger has it.
    """
    conflicts: list[dict[str, Any]] = []
    replays: dict[int, UUID] = {}
    for ordinal, charge in compared.draft.charges.items():
        if ordinal in outcomes:
            continue
        one, existing = compared.draft.batch[ordinal], known[compared.calls[ordinal]]
        if existing.provenance == one.record.provenance:
            replays[ordinal] = charge.receipt.id
        elif repeats(charge, existing.content_hash, existing.response_cost_usd):
            outcomes[ordinal] = Outcome(one, OutcomeKind.DUPLICATE, DuplicateReason.RECEIPT)
        else:
            outcomes[ordinal] = Outcome(one, OutcomeKind.CONFLICT, ConflictReason.CONTENT)
            conflicts.append(conflict_row(one.record, charge, existing.content_hash))
    conflicts.sort(key=lambda row: (row["source_system"], row["call_key"]))
    return conflicts, replays


def _settlements(
    compared: Compared, known: Mapping[Call, Existing]
) -> dict[Call, Settlement | None]:
    """Who set the cost of a receipt by hand, where the record that wrote it is in this batch.

    The receipt says how a deferral was settled, not the record in hand: that may be a repeat, or a
    person's cost for a call that had its receipt already.
    """
    batch = compared.draft.batch
    return {
        call: charge.settlement
        for ordinal, charge in compared.draft.charges.items()
        if charge.settlement
        and known[call := compared.calls[ordinal]].provenance == batch[ordinal].record.provenance
    }


def resolved(planned: Plan, unsettled: Mapping[Call, str | None]) -> list[Resolved]:
    """Return what the receipts of the batch's calls make of their deferrals.

    `unsettled` are calls whose deferral is open or written off, each with its resolution.
    """
    if not unsettled:
        return []
    calls = dict.fromkeys(call for call in planned.calls.values() if call in unsettled)
    return [
        Resolved(call, unsettled[call], resolution, planned.settlements.get(call))
        for call in calls
        if (resolution := charged(unsettled[call], planned.known[call].cost_source))
    ]


def outcomes(planned: Plan, written: Written) -> list[Outcome]:
    """Say of each record, in order, what became of it when the plan was written."""
    batch, found = planned.batch, dict(planned.outcomes)
    for ordinal in planned.units:
        reason = UnitReason.NEW if ordinal in written.units else UnitReason.KNOWN
        found[ordinal] = Outcome(batch[ordinal], OutcomeKind.UNIT, reason)
    for ordinal, id_ in planned.replays.items():
        found[ordinal] = Outcome(
            batch[ordinal],
            OutcomeKind.DUPLICATE,
            DuplicateReason.REPLAYED,
            written.replayed[id_],
        )
    for ordinal, deferred in planned.deferrals.items():
        became: tuple[OutcomeKind, OutcomeReason] = (
            (OutcomeKind.DEFERRED, deferred.reason)
            if ordinal in written.deferrals
            else (OutcomeKind.DUPLICATE, DuplicateReason.DEFERRED)
        )
        # A create that made the receipt of its result has its outcome.
        found.setdefault(ordinal, Outcome(batch[ordinal], *became))
    return [found[ordinal] for ordinal in range(len(batch))]
