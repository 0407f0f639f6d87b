"""What calls of a model cost, learned from their receipts. Pure.

A receipt says how many tokens a call had and what they cost together, not what one of them costs.
Of pairs of an input and an output rate that cover a share of the calls (the quantile), the pair
is taken whose amounts are the lowest over what the calls cost, at the median: where all calls have
list prices, these are the list prices. Whatever makes some calls dearer (a deployment at another
price, a tier for long prompts, what is written to a cache) raises both rates until the share is
covered. Tokens read from a cache are cheaper, and nobody knows before a call how many there will
be: calls that had none are the dearest, and so the rates cover these.

Beside the rates, the answer's tokens that have to be held for a call without a limit, so that the
same share of calls is covered whatever the clients allowed.
"""

from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING, Decimal
from typing import Final

import msgspec

from charging.estimate import Rates
from charging.money import priced, trimmed

_DIGITS: Final = 15
"""Behind the point, of a rate; rates are rounded up."""
_SIXTEENTHS: Final = 16
"""In which the output rate is told as a multiple of the input rate."""
_USUAL: Final = 4 * _SIXTEENTHS
"""The multiple where the calls do not tell it: all have as many tokens of each, in proportion."""
_MULTIPLES: Final = (
    _SIXTEENTHS, 20, 24, 32, 40, 48, _USUAL, 80, 96, 128, 160, 192, 256, 384, 512, 1_024,
)  # fmt: skip
_COMPARED: Final = 500
"""Calls that are gone through for each multiple."""
_SCALE: Final = 10**24
_FINENESS: Final = 10**4
"""A pair that is better by less than a ten-thousandth is not better: the usual one is taken."""
_STEPS: Final = 8


class Sample(msgspec.Struct, frozen=True, gc=False):
    """What a receipt says of the tokens and the cost of its call."""

    tokens_in: int
    tokens_out: int
    cost_usd: Decimal
    free: bool = False
    """Whether the operator calls the model free."""


class Learning(msgspec.Struct, frozen=True, gc=False):
    """Which share of calls is to be covered, and how few calls are too few to learn from."""

    quantile: Decimal
    fewest: int


class _Call(msgspec.Struct, frozen=True, gc=False):
    """A sample in whole numbers: its cost in the unit of a rate's last digit, rounded up."""

    tokens_in: int
    tokens_out: int
    cost: int


def learn(model: str, samples: Iterable[Sample], rules: Learning) -> Rates | None:
    """Return the rates of a model; None where too few calls are known.

    A model all of whose calls were free is free, however few they are.
    """
    found = list(samples)
    if found and all(one.free for one in found):
        return Rates(model, Decimal(0), Decimal(0), 0, len(found))
    calls = [_call(one) for one in found if one.cost_usd > 0]
    if not calls or len(calls) < rules.fewest:
        return None
    request = _quantile([0 if _tokens(one) else one.cost for one in calls], rules.quantile)
    spoken = [one for one in calls if _tokens(one)]
    input_, output = _prices(spoken, rules.quantile) if spoken else (0, 0)
    # Rounded up: a token less would not cover the call.
    needed = [-(-(one.cost - one.tokens_in * input_) // (output or 1)) for one in spoken]
    answer = max(_quantile(needed, rules.quantile), 1) if output else 0
    return Rates(model, _usd(input_), _usd(output), answer, len(calls), _usd(request))


def _call(one: Sample) -> _Call:
    cost = int(priced((10**_DIGITS, one.cost_usd)).to_integral_value(ROUND_CEILING))
    return _Call(max(one.tokens_in, 0), max(one.tokens_out, 0), cost)


def _tokens(one: _Call) -> int:
    return one.tokens_in + one.tokens_out


def _usd(units: int) -> Decimal:
    return Decimal(trimmed(Decimal(units).scaleb(-_DIGITS)))


def _prices(spoken: Sequence[_Call], quantile: Decimal) -> tuple[int, int]:
    """Return the input and the output rate, in units."""
    compared = [_scaled(one) for one in spoken[:: -(-len(spoken) // _COMPARED)]]
    multiple = _multiple(compared, quantile)
    # Of a sixteenth of an input token.
    rates = [-(-one.cost * _SIXTEENTHS // _weight(one, multiple)) for one in spoken]
    input_ = _quantile(rates, quantile)
    return input_, -(-input_ * multiple // _SIXTEENTHS)


def _weight(one: _Call, multiple: int) -> int:
    return one.tokens_in * _SIXTEENTHS + one.tokens_out * multiple


def _scaled(one: _Call) -> tuple[int, int, int]:
    # What `_excess` needs of each call, once for each of dozens of multiples.
    return one.tokens_in * _SIXTEENTHS * _SCALE, one.tokens_out * _SCALE, max(one.cost, 1)


def _multiple(calls: Sequence[tuple[int, int, int]], quantile: Decimal) -> int:
    """Return how many sixteenths of an input token an output token is worth, as it seems."""
    best = min(_MULTIPLES, key=lambda one: (_excess(calls, one, quantile), abs(one - _USUAL)))
    at = _MULTIPLES.index(best)
    low, high = _MULTIPLES[max(at - 1, 0)], _MULTIPLES[min(at + 1, len(_MULTIPLES) - 1)]
    while high - low > 1:
        step = max((high - low) // _STEPS, 1)
        tried = [*range(low, high + 1, step), best]
        best = min(tried, key=lambda one: (_excess(calls, one, quantile), abs(one - _USUAL)))
        if step == 1:
            break
        low, high = max(best - step, _SIXTEENTHS), best + step
    return best


def _excess(calls: Sequence[tuple[int, int, int]], multiple: int, quantile: Decimal) -> int:
    """Return the median of held over cost, in ten-thousandths, if answers were known before."""
    worth = sorted([(asked + said * multiple) // cost for asked, said, cost in calls])
    dearest = worth[len(worth) - _place(len(worth), quantile)]
    return worth[len(worth) // 2] * _FINENESS // max(dearest, 1)


def _quantile(values: Sequence[int], quantile: Decimal) -> int:
    return sorted(values)[_place(len(values), quantile) - 1]


def _place(count: int, quantile: Decimal) -> int:
    """Return which value in order, from 1, a further one stays below in that share of cases."""
    return min(int(((count + 1) * quantile).to_integral_value(ROUND_CEILING)), count)
