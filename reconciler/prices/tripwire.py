"""Receipts against a price table, by model. Pure; what is computed here is never billed.

A receipt does not tell all that its cost came from: how many tokens were written to a cache, which
tier served it, which tools it used. What tokens written to a cache would add is allowed for; the
rest shows as drift.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from charging.charge import COST_SOURCE
from charging.money import priced, summed
from ledger.counted_receipts import CountedReceipt
from reconciler.bills.drift import Tolerance
from reconciler.prices.table import Entry, Prices, Table
from schemas.receipt import ChargeReason

_ZERO: Final = Decimal(0)
_NOT_COMPARED: Final = {
    ChargeReason.CACHE_HIT: "answered from LiteLLM's cache, which costs nothing",
    ChargeReason.FREE_MODEL: "free by BILLING_FREE_MODELS",
}
USUAL: Final = Tolerance(Decimal(2), Decimal("0.01"))
"""What may differ where nobody says otherwise."""
BY_HAND: Final = "cost that no callback of LiteLLM said"
NO_TOKENS: Final = "no tokens counted"


class Verdict(StrEnum):
    """What the receipts of a model are."""

    AGREES = "agrees"
    DRIFTS = "drifts"
    UNKNOWN = "unknown"


class Line(msgspec.Struct, frozen=True):
    """The receipts of a model, and what the table makes of them.

    `least_usd` and `most_usd` are what the table allows; None where it does not know the model.
    `off` receipts cost more or less than that beyond the tolerance, by `off_usd` together;
    `example` is the call key of the one that is off by most.
    """

    model: str | None
    provider: str | None
    priced_as: str | None
    receipts: int
    said_usd: Decimal
    least_usd: Decimal | None
    most_usd: Decimal | None
    off: int
    off_usd: Decimal
    example: str | None
    verdict: Verdict


def computed(receipt: CountedReceipt, entry: Entry) -> tuple[Decimal, Decimal]:
    """Return the least and the most that a receipt's tokens cost by the table, exactly.

    Of the prompt's tokens those that were read from a cache are known, and those that were written
    to one are not: these lie between. Without a price for reading, it lies between 0 and that of
    any token.
    """
    tokens_in, tokens_out = receipt.tokens_in or 0, receipt.tokens_out or 0
    cached, reasoning = receipt.tokens_cached_in or 0, receipt.tokens_reasoning or 0
    prices = entry.prices(tokens_in)
    # Some versions of LiteLLM count them beside the prompt's.
    plain = tokens_in - cached if cached <= tokens_in else tokens_in
    thought = min(reasoning, tokens_out) if prices.reasoning is not None else 0
    answer = priced((tokens_out - thought, prices.output), (thought, prices.reasoning or _ZERO))
    least, most = _of_prompt(prices)
    read_least = _ZERO if prices.cache_read is None else prices.cache_read
    read_most = prices.input if prices.cache_read is None else prices.cache_read
    return (
        summed((answer, priced((plain, least), (cached, read_least)))),
        summed((answer, priced((plain, most), (cached, read_most)))),
    )


def _of_prompt(prices: Prices) -> tuple[Decimal, Decimal]:
    written = prices.input if prices.cache_write is None else prices.cache_write
    return min(prices.input, written), max(prices.input, written)


@dataclass
class _Sum:
    entry: Entry | None
    receipts: int = 0
    said_usd: Decimal = _ZERO
    least_usd: Decimal = _ZERO
    most_usd: Decimal = _ZERO
    off: int = 0
    off_usd: Decimal = _ZERO
    worst: Decimal = _ZERO
    example: str | None = None


@dataclass
class Tripwire:
    """Adds receipts up by model; `left_out` counts those that cannot be compared, by why."""

    table: Table
    tolerance: Tolerance
    left_out: dict[str, int] = field(default_factory=dict)
    _models: dict[tuple[str | None, str | None], _Sum] = field(default_factory=dict)

    def add(self, receipts: Iterable[CountedReceipt]) -> None:
        """Add receipts."""
        for receipt in receipts:
            if why := _left_out(receipt):
                self.left_out[why] = self.left_out.get(why, 0) + 1
                continue
            key = (receipt.model, receipt.provider)
            found = self._models.get(key)
            if found is None:
                found = _Sum(self.table.find(receipt.provider, receipt.model))
                self._models[key] = found
            self._count(receipt, found)

    def _count(self, receipt: CountedReceipt, found: _Sum) -> None:
        found.receipts += 1
        found.said_usd = summed((found.said_usd, receipt.cost_usd))
        if found.entry is None:
            return
        least, most = computed(receipt, found.entry)
        found.least_usd = summed((found.least_usd, least))
        found.most_usd = summed((found.most_usd, most))
        away = _away(receipt.cost_usd, least, most)
        if away <= self.tolerance.part_of(most):
            return
        found.off += 1
        found.off_usd = summed((found.off_usd, away))
        if away > found.worst:
            found.worst, found.example = away, receipt.call_key

    def lines(self) -> list[Line]:
        """Return a line for each model: those that drift first, then the largest sum."""
        order = (Verdict.DRIFTS, Verdict.UNKNOWN, Verdict.AGREES)
        lines = [self._line(*key, found) for key, found in self._models.items()]
        return sorted(
            lines,
            key=lambda one: (order.index(one.verdict), -one.off_usd, -one.said_usd, str(one.model)),
        )

    def _line(self, model: str | None, provider: str | None, found: _Sum) -> Line:
        known = found.entry is not None
        return Line(
            model=model,
            provider=provider,
            priced_as=found.entry.name if found.entry else None,
            receipts=found.receipts,
            said_usd=found.said_usd,
            least_usd=found.least_usd if known else None,
            most_usd=found.most_usd if known else None,
            off=found.off,
            off_usd=found.off_usd,
            example=found.example,
            verdict=self._verdict(found),
        )

    def _verdict(self, found: _Sum) -> Verdict:
        if found.entry is None:
            return Verdict.UNKNOWN
        return Verdict.DRIFTS if found.off_usd > self.tolerance.usd else Verdict.AGREES


def _left_out(receipt: CountedReceipt) -> str | None:
    """Return why a receipt says nothing about prices; None where it does."""
    if receipt.cost_source != COST_SOURCE:
        return BY_HAND
    for reason, why in _NOT_COMPARED.items():
        if receipt.charge_reason == reason:
            return why
    return None if receipt.tokens_in or receipt.tokens_out else NO_TOKENS


def _away(said: Decimal, least: Decimal, most: Decimal) -> Decimal:
    """Return by how much a cost lies outside what is allowed."""
    if said < least:
        return summed((least, said.copy_negate()))
    return summed((said, most.copy_negate())) if said > most else _ZERO
