"""Repeats: whether a charge says again what the receipt of its call says already. Pure.

LiteLLM's spend log keeps some amounts with 16 digits, its callback with 17 (LiteLLM 1.109). A call
whose receipt was made of the one and whose other comes later is one call with one amount.
"""

from decimal import Decimal
from fractions import Fraction
from typing import Final

from msgspec.structs import replace

from charging.background import result_hash
from charging.charge import content_hash
from charging.outcomes import Charge

TOLERANCE: Final = Fraction(1, 10**14)
"""How far two writings of one amount lie apart, relative to the larger one. A double of 16 digits
and one of 17 are at most 5e-16 apart; no two prices of LiteLLM are that close."""


def same_amount(one: Decimal, other: Decimal) -> bool:
    """Say whether two amounts are writings of one; exact, whatever their size."""
    if one == other:
        return True
    first, second = Fraction(one), Fraction(other)
    return abs(first - second) <= TOLERANCE * max(abs(first), abs(second))


def repeats(charge: Charge, written_hash: str, written_cost: Decimal) -> bool:
    """Say whether `charge` repeats the receipt of its call.

    `written_hash` and `written_cost` are that receipt's content hash and response cost. True also
    where they differ in nothing but the last digits of the cost.
    """
    if charge.content_hash == written_hash:
        return True
    if not same_amount(charge.receipt.response_cost_usd, written_cost):
        return False
    as_written = replace(charge.receipt, response_cost_usd=written_cost)
    return written_hash in {content_hash(as_written), result_hash(as_written)}
