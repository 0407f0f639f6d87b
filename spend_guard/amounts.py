"""What is held for an ask, in credits: by what it names, or by what calls of its model cost."""

from decimal import Decimal
from typing import Final

from charging.estimate import Asked, Terms, estimate
from charging.money import charge
from schemas.text import identifier
from spend_guard import metrics
from spend_guard.messages import MOST_CREDITS, EstimateAsk, HoldAsk
from spend_guard.rates import KnownRates

_LEARNED: Final = "learned"
_PRICE: Final = "price"
_LAST_RESORT: Final = "last_resort"
_NAMED: Final = "named"


class Amounts:
    """Says what is held for asks, by the rates that are known at that moment and these terms."""

    def __init__(self, known: KnownRates, terms: Terms) -> None:
        self._known = known
        self._terms = terms

    def of(self, asked: HoldAsk) -> int:
        """Return what is to be held in whole credits, rounded up."""
        if asked.estimate is not None:
            return self._estimated(asked.model or "", asked.estimate)
        metrics.AMOUNTS.labels(_NAMED).inc()
        if asked.amount_credits is not None:
            return asked.amount_credits
        return charge(Decimal(asked.amount_usd or 0), self._terms.markup)[1]

    def _estimated(self, name: str, asked: EstimateAsk) -> int:
        model = identifier(name)
        rates = self._known.of(model)
        call = Asked(
            model,
            asked.prompt_tokens,
            asked.max_tokens,
            asked.n,
            _usd(asked.input_price_usd),
            _usd(asked.output_price_usd),
        )
        if rates is not None:
            metrics.AMOUNTS.labels(_LEARNED).inc()
        elif call.input_price is None and call.output_price is None:
            metrics.AMOUNTS.labels(_LAST_RESORT).inc()
        else:
            metrics.AMOUNTS.labels(_PRICE).inc()
        return min(estimate(call, rates, self._terms), MOST_CREDITS)


def _usd(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
