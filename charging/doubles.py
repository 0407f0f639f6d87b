"""Possible doubles: two receipts that look like one call which LiteLLM has reported twice.

By the rule of keys they are two calls: their response ids differ. One request of a client that has
two successes of equal cost, equal tokens and one beginning is most probably one all the same. Only
a person can tell, so the later receipt is marked and nothing else happens. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from msgspec.structs import replace

from charging.outcomes import Charge
from schemas.receipt import ChargeReason, Receipt

POSSIBLE_DOUBLE: Final = "possible_double"
_AS_ROUNDED: Final = 0.002
"""Seconds by which two beginnings may differ that are told from ends and whole milliseconds."""


class Success(NamedTuple):
    """What is compared of a receipt, by the columns of the ledger."""

    source_system: str
    litellm_call_id: str
    response_cost_usd: Decimal
    tokens_in: int | None
    tokens_out: int | None
    occurred_at: datetime
    latency_ms: int | None


def doubles(new: Iterable[Receipt], known: Iterable[Success]) -> set[UUID]:
    """Return the ids of `new` receipts that may be doubles of `known` or of earlier ones."""
    seen: dict[tuple[str, str], list[Success]] = {}
    for one in known:
        seen.setdefault(one[:2], []).append(one)
    found = set[UUID]()
    for receipt in new:
        if receipt.litellm_call_id is None or receipt.charge_reason is not ChargeReason.USAGE:
            continue
        call = (receipt.source_system, receipt.litellm_call_id)
        if (earlier := seen.get(call)) is None:
            seen[call] = [_success(receipt)]
            continue
        success = _success(receipt)
        if any(_alike(success, other) for other in earlier):
            found.add(receipt.id)
        earlier.append(success)
    return found


def _success(receipt: Receipt) -> Success:
    return Success(
        receipt.source_system,
        receipt.litellm_call_id or "",
        receipt.response_cost_usd,
        receipt.tokens_in,
        receipt.tokens_out,
        receipt.occurred_at,
        receipt.latency_ms,
    )


def _alike(one: Success, other: Success) -> bool:
    figures = slice(2, 5)
    if one[figures] != other[figures] or one.latency_ms is None or other.latency_ms is None:
        return False
    apart = (one.occurred_at - other.occurred_at).total_seconds()
    return abs(apart - (one.latency_ms - other.latency_ms) / 1_000) <= _AS_ROUNDED


def marked(new: Mapping[int, Charge], successes: Sequence[Success]) -> dict[int, Charge]:
    """Return new charges, by their ordinals, with the mark on those that may be doubles."""
    found = doubles((charge.receipt for charge in new.values()), successes)
    charges = dict(new)
    for ordinal, charge in new.items() if found else ():
        if (receipt := charge.receipt).id in found:
            marks = sorted([*receipt.marks, POSSIBLE_DOUBLE])
            charges[ordinal] = replace(charge, receipt=replace(receipt, marks=marks))
    return charges
