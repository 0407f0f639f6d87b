"""What a call may cost at most, in credits, told before it is made. Pure.

    (prompt tokens × input rate + answer tokens × output rate + answers × request) × markup

rounded up once. `request` is the amount of a call without tokens, such as a picture, which is paid
by the piece. Answer tokens are those that the client allows, for each answer that it asks for;
where it allows any number, the bound that was learned with the rates (`charging.learning`). Of a
model without learned rates the price counts that whoever asks passes on, and without one the
setting `ESTIMATED_USD_PER_1K_TOKENS`. A model that is known to be free holds nothing.
"""

from decimal import Decimal
from typing import Final

import msgspec

from charging.money import charge, priced

_THOUSANDTH: Final = Decimal("0.001")
_NOTHING: Final = Decimal(0)


class Rates(msgspec.Struct, frozen=True, gc=False):
    """What calls of a model have cost: US dollars for a token, and for a request beside those."""

    model: str
    input: Decimal
    output: Decimal
    output_tokens: int
    """Of an answer whose length the client does not limit."""
    samples: int
    """From how many receipts this is."""
    request: Decimal = _NOTHING
    """Of a call that has no tokens, such as a picture; 0 where calls without tokens are rare."""


class Asked(msgspec.Struct, frozen=True, gc=False):
    """A call that is about to be made, as far as it is known then; prices are US dollars a token.

    `max_tokens` is None where the client sets no limit, and 0 where the call has no answer of
    tokens, as an embedding. A price is None where whoever asks knows none.
    """

    model: str
    prompt_tokens: int
    max_tokens: int | None = None
    n: int = 1
    input_price: Decimal | None = None
    output_price: Decimal | None = None


class Terms(msgspec.Struct, frozen=True, gc=False):
    """What an operator has set: the markup, and what counts where nothing is known of a model."""

    markup: Decimal
    usd_per_1k_tokens: Decimal
    output_tokens: int


def estimate(asked: Asked, rates: Rates | None, terms: Terms) -> int:
    """Return what is to be held for a call, whole credits: 0 holds nothing.

    Raises a `decimal` signal rather than count with an inexact amount.
    """
    usual = terms.output_tokens if rates is None else rates.output_tokens
    answers = asked.n * (usual if asked.max_tokens is None else asked.max_tokens)
    if rates is not None:
        usd = priced(
            (asked.prompt_tokens, rates.input), (answers, rates.output), (asked.n, rates.request)
        )
    elif asked.input_price is None and asked.output_price is None:
        thousandths = priced((asked.prompt_tokens + answers, terms.usd_per_1k_tokens))
        usd = charge(thousandths, _THOUSANDTH)[0]
    else:
        usd = priced(
            (asked.prompt_tokens, asked.input_price or _NOTHING),
            (answers, asked.output_price or _NOTHING),
        )
    return charge(usd, terms.markup)[1]
