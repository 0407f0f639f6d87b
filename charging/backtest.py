"""What holds would have done to past calls: how many they cover, how much they take. Pure.

Each call is judged with rates learned from calls that had ended before its day began. Receipts do
not know which length of an answer the client allowed: every call is judged as if it allowed any.
"""

from bisect import insort
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_CEILING, Context, Decimal
from typing import Final

import msgspec

from charging.estimate import Asked, Rates, Terms, estimate
from charging.learning import Learning, Sample, learn
from charging.money import charge

_RATIO: Final = Context(prec=4, rounding=ROUND_CEILING)


class PastCall(msgspec.Struct, frozen=True, gc=False):
    """A call that has a receipt."""

    model: str
    account: str
    started: datetime
    ended: datetime
    sample: Sample
    cache_hit: bool
    """Whether LiteLLM answered it for nothing; rates are not learned from it."""


@dataclass(slots=True)
class Judged:
    """What holds would have been for some calls; a ratio is rounded up to four digits."""

    calls: int = 0
    cold: int = 0
    """Calls of models without learned rates."""
    free: int = 0
    """Calls that cost nothing: they have no ratio."""
    covered: int = 0
    """Of those that cost something: how many cost no more than was held."""
    held: int = 0
    charged: int = 0
    worst: Decimal | None = None
    """The most that one of them was charged over what was held."""
    ratios: Counter[Decimal] = field(default_factory=Counter)

    def add(self, held: int, charged: int, *, cold: bool) -> None:
        """Count a call; amounts are credits."""
        self.calls += 1
        self.cold += cold
        self.held += held
        self.charged += charged
        if not charged:
            self.free += 1
            return
        self.covered += held >= charged
        self.ratios[_RATIO.divide(Decimal(held), Decimal(charged))] += 1
        if held:
            over = _RATIO.divide(Decimal(charged), Decimal(held))
            self.worst = over if self.worst is None else max(self.worst, over)

    @property
    def costly(self) -> int:
        """Calls that cost something."""
        return self.calls - self.free

    @property
    def share_covered(self) -> Decimal | None:
        """The share of the calls that cost something for which enough was held."""
        if not self.costly:
            return None
        # Rounded down: 99 % are not reached by rounding.
        return Decimal(self.covered * 1_000_000 // self.costly).scaleb(-6)

    @property
    def median_ratio(self) -> Decimal | None:
        """The median of what was held over what was charged."""
        left = self.costly // 2
        for ratio in sorted(self.ratios):
            left -= self.ratios[ratio]
            if left < 0:
                return ratio
        return None


@dataclass(slots=True)
class Afforded:
    """What became of an account's calls that began with a balance; credits."""

    balance: int
    calls: int = 0
    refused: int = 0
    refused_falsely: int = 0
    """Refused, though the balance would have paid for the call and for those under way."""
    lowest: int = 0
    """The lowest that the balance was; below zero where a call cost more than was held."""
    _open: list[tuple[datetime, int, int, int]] = field(default_factory=list)
    """Calls under way in the order of their ends: end, number, held, charge."""

    def __post_init__(self) -> None:
        """Begin with the balance."""
        self.lowest = self.balance

    def ask(self, started: datetime, ended: datetime, held: int, charged: int) -> None:
        """Take a call; calls come in the order in which they began."""
        self.end(started)
        self.calls += 1
        if held and held > self.balance - sum(one[2] for one in self._open):
            self.refused += 1
            self.refused_falsely += charged <= self.balance - sum(one[3] for one in self._open)
            return
        insort(self._open, (max(ended, started), self.calls, held, charged))

    def end(self, until: datetime | None = None) -> None:
        """Charge the calls that had ended by then; None: all."""
        while self._open and (until is None or self._open[0][0] <= until):
            self.balance -= self._open.pop(0)[3]
            self.lowest = min(self.lowest, self.balance)


@dataclass(frozen=True, slots=True)
class Rules:
    """How rates are learned and holds told: from which time before a day, from how many calls."""

    learning: Learning
    terms: Terms
    window: timedelta
    most: int


class Backtest:
    """Judges calls, told in the order in which they began.

    Args:
        rules: how rates are learned and holds told.
        since: calls that began before are learned from alone.
        balances: credits that each account is tried with.
        chosen: which accounts' calls are judged; all are learned from.
    """

    def __init__(
        self,
        rules: Rules,
        since: datetime,
        balances: Sequence[int] = (),
        chosen: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self.models: dict[str, Judged] = {}
        self.total = Judged()
        self.afforded: dict[tuple[int, str], Afforded] = {}
        """By the balance that an account began with, and its name."""
        self._rules = rules
        self._since = since
        self._balances = balances
        self._chosen = chosen
        self._known: dict[str, deque[PastCall]] = {}
        self._rates: dict[str, tuple[date, Rates | None]] = {}

    def take(self, call: PastCall) -> None:
        """Judge a call, and learn from it for the days after it."""
        if call.started >= self._since:
            # Also for a call that is not judged: it is learned from, but not for its own day.
            rates = self._rates_for(call)
            if self._chosen(call.account):
                self._judge(call, rates)
        if not call.cache_hit:
            calls = deque[PastCall](maxlen=self._rules.most)
            self._known.setdefault(call.model, calls).append(call)

    def end(self) -> None:
        """Charge the calls that are under way."""
        for one in self.afforded.values():
            one.end()

    def _judge(self, call: PastCall, rates: Rates | None) -> None:
        terms = self._rules.terms
        held = estimate(Asked(call.model, call.sample.tokens_in), rates, terms)
        charged = charge(call.sample.cost_usd, terms.markup)[1]
        for judged in (self.models.setdefault(call.model, Judged()), self.total):
            judged.add(held, charged, cold=rates is None)
        for balance in self._balances:
            key = (balance, call.account)
            self.afforded.setdefault(key, Afforded(balance)).ask(
                call.started, call.ended, held, charged
            )

    def _rates_for(self, call: PastCall) -> Rates | None:
        # Learned at a model's first call of a day, from what was known when the day began.
        day = call.started.astimezone(UTC).date()
        learned_on, rates = self._rates.get(call.model, (None, None))
        if learned_on != day:
            begun = datetime.combine(day, time.min, UTC)
            samples = [
                one.sample
                for one in self._known.get(call.model, ())
                if begun - self._rules.window <= one.ended < begun
            ]
            rates = learn(call.model, samples, self._rules.learning)
            self._rates[call.model] = day, rates
        return rates
