"""What a provider charged against what LiteLLM said, by model and day of UTC. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Context, Decimal
from enum import StrEnum
from typing import Final

import msgspec

from charging.money import summed, times
from ledger.model_days import ModelDay
from reconciler.bills.items import Beside, BillError, Charge, Item
from reconciler.bills.names import Names

_ZERO: Final = Decimal(0)
_RATIO: Final = Context(prec=6)
_USD: Final = "USD"
_PERCENT: Final = Decimal("0.01")


class Verdict(StrEnum):
    """What a model and day of a bill is."""

    AGREES = "agrees"
    DRIFTS = "drifts"
    NOT_IN_LEDGER = "only on the bill"
    NOT_ON_BILL = "only in the ledger"


DRIFTING: Final = frozenset({Verdict.DRIFTS, Verdict.NOT_IN_LEDGER, Verdict.NOT_ON_BILL})


class Tolerance(msgspec.Struct, frozen=True):
    """How much may differ: a part of what the provider charged, in percent, or some US dollars.

    The larger of the two counts.
    """

    percent: Decimal
    usd: Decimal

    def part_of(self, usd: Decimal) -> Decimal:
        """Return the part of an amount that may differ, US dollars."""
        return times(usd.copy_abs(), times(self.percent, _PERCENT))

    def allows(self, provider_usd: Decimal, difference_usd: Decimal) -> bool:
        """Whether a difference is none to look at."""
        return difference_usd.copy_abs() <= max(self.part_of(provider_usd), self.usd)


class Line(msgspec.Struct, frozen=True):
    """A model and a day: what the provider charged, what LiteLLM said, and what is open.

    `ratio` is ours to the provider's, None where that charged nothing. `deferred_usd` is what
    LiteLLM suggested for deferred calls, which no receipt has yet.
    """

    model: str
    day: date
    provider_usd: Decimal
    ours_usd: Decimal
    difference_usd: Decimal
    ratio: Decimal | None
    receipts: int
    deferred: int
    deferred_tokens: int
    deferred_usd: Decimal
    verdict: Verdict


class BesideSum(msgspec.Struct, frozen=True):
    """What stands on the bill and is no use of a model."""

    what: str
    items: int
    provider_usd: Decimal


@dataclass
class Bill:
    """Adds up a bill in US dollars. `rates` are dollars for one of another currency.

    `first` and `last` are the days that are looked at, where there are any; what is on other days
    is counted in `outside`.
    """

    names: Names
    rates: Mapping[str, Decimal]
    first: date | None = None
    last: date | None = None
    outside: int = 0
    days: set[date] = field(default_factory=set)
    shown: dict[str, str] = field(default_factory=dict)
    charged: dict[tuple[str, date], Decimal] = field(default_factory=dict)
    beside: dict[str, BesideSum] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)

    def add(self, item: Item) -> None:
        """Add an item; a currency without a rate is kept in `foreign`."""
        rate = Decimal(1) if item.currency == _USD else self.rates.get(item.currency)
        if rate is None:
            self.foreign.add(item.currency)
            return
        if not self._looked_at(item.day):
            self.outside += 1
            return
        usd = times(item.amount, rate)
        match item:
            case Charge():
                model = self.names.of_bill(item.model)
                self.shown.setdefault(model, item.model)
                self.days.add(item.day)
                key = (model, item.day)
                self.charged[key] = summed((self.charged.get(key, _ZERO), usd))
            case Beside():
                before = self.beside.get(item.what, BesideSum(item.what, 0, _ZERO))
                total = summed((before.provider_usd, usd))
                self.beside[item.what] = BesideSum(item.what, before.items + 1, total)

    def _looked_at(self, day: date) -> bool:
        return (self.first is None or self.first <= day) and (self.last is None or day <= self.last)

    def period(self) -> tuple[date, date]:
        """Return the first and the last day that are compared.

        Raises `BillError` where the bill has nothing to compare, or a currency without a rate.
        """
        if self.foreign:
            named = ", ".join(sorted(self.foreign))
            example = f"--rate {min(self.foreign)}=1.0843"
            raise BillError(
                f"the bill is in {named}, and receipts are in US dollars: say what one is worth, "
                f"such as {example}"
            )
        if not self.days:
            raise BillError("the bill has no charge for the use of a model on these days")
        return self.first or min(self.days), self.last or max(self.days)


def compared(
    bill: Bill,
    receipts: Sequence[ModelDay],
    deferrals: Sequence[ModelDay],
    providers: tuple[str, ...],
    tolerance: Tolerance,
) -> list[Line]:
    """Return a line for each model and day that the bill or the books know, by day and model.

    Of the books, calls of these providers, by the beginnings of their names, and such as name none
    and are of a model on the bill.
    """
    ours = _by_model(receipts, bill, providers)
    open_ = _by_model(deferrals, bill, providers)
    keys = sorted({*bill.charged, *ours, *open_}, key=lambda key: (key[1], key[0]))
    return [_line(bill, key, ours.get(key, ()), open_.get(key, ()), tolerance) for key in keys]


def _by_model(
    rows: Iterable[ModelDay], bill: Bill, providers: tuple[str, ...]
) -> dict[tuple[str, date], list[ModelDay]]:
    found: dict[tuple[str, date], list[ModelDay]] = {}
    for row in rows:
        model = bill.names.of_ours(row.model)
        named = row.provider.startswith(providers) if row.provider else model in bill.shown
        if named:
            found.setdefault((model, row.day), []).append(row)
    return found


def _line(
    bill: Bill,
    key: tuple[str, date],
    ours: Sequence[ModelDay],
    open_: Sequence[ModelDay],
    tolerance: Tolerance,
) -> Line:
    model, day = key
    provider_usd = bill.charged.get(key, _ZERO)
    ours_usd = summed(row.cost_usd for row in ours)
    # `-` would round it.
    difference = summed((provider_usd, ours_usd.copy_negate()))
    known = [row.model for row in (*ours, *open_) if row.model]
    return Line(
        model=bill.shown.get(model) or min(known, default="(no model named)"),
        day=day,
        provider_usd=provider_usd,
        ours_usd=ours_usd,
        difference_usd=difference,
        ratio=_RATIO.divide(ours_usd, provider_usd).normalize() if provider_usd else None,
        receipts=sum(row.calls for row in ours),
        deferred=sum(row.calls for row in open_),
        deferred_tokens=sum(row.tokens for row in open_),
        deferred_usd=summed(row.cost_usd for row in open_),
        verdict=_verdict(
            on_bill=key in bill.charged,
            in_ledger=bool(ours or open_),
            allowed=tolerance.allows(provider_usd, difference),
        ),
    )


def _verdict(*, on_bill: bool, in_ledger: bool, allowed: bool) -> Verdict:
    if allowed:
        return Verdict.AGREES
    if on_bill and in_ledger:
        return Verdict.DRIFTS
    return Verdict.NOT_IN_LEDGER if on_bill else Verdict.NOT_ON_BILL
