"""Pairing: which result belongs to which create, among the callbacks of one link. Pure.

Usually a link has one create and one result, and whichever comes last makes the receipt. Where a
link has several (one key, one model, one second), a result is charged as long as it makes no
difference which create it is paired with and there are creates enough; else a person decides.
There are never more receipts than creates, and a result is never charged twice.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from charging.background import (
    AGAIN,
    attribution,
    deferred_of,
    inherit,
    under,
)
from charging.outcomes import (
    Charge,
    Decision,
    Deferred,
    DeferredReason,
    Link,
    Resolution,
    Role,
    Skipped,
)
from schemas.receipt import Receipt
from schemas.record import Provenance


class Row(msgspec.Struct, frozen=True):
    """A deferral of the link, as the ledger has it. `resolution` is None while it is open."""

    call_key: str
    reason: str
    provenance: Provenance
    held: Charge | None
    resolution: str | None = None
    result_key: str | None = None


class Closing(NamedTuple):
    """A create that is closed now; `result_key` is None where it has no result."""

    source_system: str
    call_key: str
    resolution: Resolution
    result_key: str | None


class _Create(msgspec.Struct):
    call_key: str
    ordered: Receipt | None
    """Whose it is; None where that is not known, which is like no other."""
    resolution: str | None = None
    result_key: str | None = None
    hold: str | None = None
    """What the spend guard holds for it: of a read nothing is held."""


class Pairing:
    """The creates and results of one link: those of the ledger, then those of a batch in order.

    `receipts` says which record wrote the receipt of a call, by source system and call key. What is
    closed and what is born closed stands in `closings` and `births`.
    """

    def __init__(
        self,
        source_system: str,
        rows: Iterable[Row],
        receipts: Mapping[tuple[str, str], Provenance],
    ) -> None:
        self.closings: list[Closing] = []
        self.births: dict[int, Deferred] = {}
        """By ordinal, creates that need a row although their record makes a receipt."""
        self._source = source_system
        self._receipts = {
            key: provenance
            for (source, key), provenance in receipts.items()
            if source == source_system
        }
        self._creates: list[_Create] = []
        self._held: dict[str, Charge] = {}
        """Reads by their deferral's key, open or not."""
        self._first: dict[str, Provenance] = {}
        """Which record a read's deferral is of."""
        self._open: dict[str, None] = {}
        """Deferrals of reads that are open, in their order."""
        for row in rows:
            self._know(row)

    def _know(self, row: Row) -> None:
        if row.reason == DeferredReason.AWAITING_RESULT:
            self._creates.append(_created(row.call_key, row.held, row.resolution, row.result_key))
            return
        self._first[row.call_key] = row.provenance
        if row.held:
            self._held[row.call_key] = row.held
        if row.resolution is None:
            self._open[row.call_key] = None

    def judge(self, ordinal: int, provenance: Provenance, decision: Decision) -> Decision:
        """Return what a record of the link becomes, after what is known by now."""
        match decision:
            case Charge(link=Link(role=Role.READ)):
                return self._read(decision, provenance)
            case Charge(link=Link(role=Role.FINISHED, result_key=result_key)):
                return self._finished(ordinal, decision, result_key)
            case Deferred(link=Link(role=Role.CREATE)):
                return self._create(ordinal, decision, provenance)
            case Skipped(link=Link(role=Role.ENDED)):
                self._ended()
            case Charge(link=None):
                return self._settled(decision, provenance)
        return decision

    def _read(self, charge: Charge, provenance: Provenance) -> Decision:
        key = charge.receipt.call_key
        if key in self._receipts:
            first = charge
        elif done := next((each for each in self._creates if _did(each, key)), None):
            first = under(charge, done.call_key)
        else:
            return self._unpaid(charge, key, provenance)
        known = provenance in {self._receipts.get(key), self._first.get(key)}
        if not known and len(self._creates) > 1 and self._waiting():
            # It may be of another response that happened to use the same.
            return self._keep(charge, DeferredReason.AMBIGUOUS_READ, key + AGAIN, provenance)
        return first

    def _unpaid(self, charge: Charge, key: str, provenance: Provenance) -> Decision:
        if not self._creates:
            return self._keep(charge, DeferredReason.AWAITING_CREATE, key, provenance)
        if not self._may_pair(key):
            return self._keep(charge, DeferredReason.AMBIGUOUS_READ, key, provenance)
        return self._pair(charge, key, provenance)

    def _keep(
        self, charge: Charge, reason: DeferredReason, key: str, provenance: Provenance
    ) -> Deferred:
        if key not in self._first:
            self._first[key] = provenance
            self._held[key] = charge
            self._open[key] = None
        return deferred_of(charge, reason, key)

    def _waiting(self) -> list[_Create]:
        return [create for create in self._creates if create.resolution is None]

    def _agree(self) -> bool:
        """Whether it makes no difference which create a result is paired with."""
        owners = {
            attribution(each.ordered) if each.ordered else each.call_key for each in self._creates
        }
        return len(owners) == 1

    def _may_pair(self, key: str) -> bool:
        """Whether a result can be charged: there is a create for it and for all before it."""
        return self._agree() and len(self._waiting()) > len(self._open.keys() - {key})

    def _pair(self, charge: Charge, key: str, provenance: Provenance) -> Charge:
        create = self._waiting()[0]
        self._close(create, Resolution.RESULT, key)
        self._receipts[key] = provenance
        self._open.pop(key, None)
        paid = inherit(charge, create.ordered) if create.ordered else charge
        return replace(paid, hold=create.hold or paid.hold)

    def _close(self, create: _Create, resolution: Resolution, result_key: str | None) -> None:
        create.resolution = resolution
        create.result_key = result_key
        self.closings.append(Closing(self._source, create.call_key, resolution, result_key))

    def _create(self, ordinal: int, deferred: Deferred, provenance: Provenance) -> Decision:
        known = next((each for each in self._creates if each.call_key == deferred.call_key), None)
        if known is None:
            self._creates.append(_created(deferred.call_key, deferred.held))
            held = next((key for key in self._open if not key.endswith(AGAIN)), None)
            if held is None or not self._may_pair(held) or held not in self._held:
                return deferred
            self.births[ordinal] = deferred
            return self._pair(self._held[held], held, provenance)
        paid = known.result_key
        if paid in self._held and paid in self._receipts and self._receipts[paid] == provenance:
            # Read again after a crash: this very record wrote the receipt.
            return under(self._held[paid], paid)
        return deferred

    def _finished(self, ordinal: int, charge: Charge, result_key: str) -> Charge:
        call_key = charge.receipt.call_key
        create = next((each for each in self._creates if each.call_key == call_key), None)
        if create is None:
            create = _Create(call_key, charge.receipt)
            self._creates.append(create)
            self.births[ordinal] = deferred_of(charge, DeferredReason.AWAITING_RESULT, call_key)
        if create.result_key is None:
            self._close(create, Resolution.CALLBACK, result_key)
        if result_key in self._open and result_key not in self._receipts:
            # Read before it was told of: the read has its charge now.
            del self._open[result_key]
            self.closings.append(Closing(self._source, result_key, Resolution.CALLBACK, None))
        return charge

    def _ended(self) -> None:
        waiting = self._waiting()
        if len(self._creates) == len(waiting) == 1 and not self._open:
            self._close(waiting[0], Resolution.NO_CHARGE, None)

    def _settled(self, charge: Charge, provenance: Provenance) -> Charge:
        """Judge what a person has set the cost of: a create or a read of this link."""
        key = charge.receipt.call_key
        create = next((each for each in self._creates if each.call_key == key), None)
        if create is None:
            pays = key not in self._receipts and bool(self._waiting())
            return self._pair(charge, key, provenance) if pays and self._agree() else charge
        if create.resolution == Resolution.RESULT and create.result_key:
            # Its result came while the settlement was on its way.
            return under(charge, create.result_key)
        create.resolution = create.resolution or Resolution.SETTLED
        return charge


def _created(
    call_key: str,
    held: Charge | None,
    resolution: str | None = None,
    result_key: str | None = None,
) -> _Create:
    if held is None:
        return _Create(call_key, None, resolution, result_key)
    return _Create(call_key, held.receipt, resolution, result_key, held.hold)


def _did(create: _Create, result_key: str) -> bool:
    return create.resolution == Resolution.CALLBACK and create.result_key == result_key
