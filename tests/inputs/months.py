"""A made-up month of three teams: calls around October, and what each team spent, told apart.

The figures are computed beside the callbacks in fractions, by no code of ours.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from math import ceil
from typing import Final

from tests.inputs.callbacks import costing

OCTOBER: Final = datetime(2026, 10, 1, tzinfo=UTC).timestamp()
NOVEMBER: Final = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
TEAMS: Final = {"team-a": "Team A", "team-b": "Team B, Ltd.", "team-c": "Équipe C"}
MODELS: Final = {"gpt-4o-mini": "3.6e-05", "claude": "0.00033000000000000005", "tiny": "1.25E-06"}
_DAY: Final = 86_400


@dataclass(frozen=True)
class Call:
    """One call: its callback, and what a bill must know of it; times in seconds since 1970."""

    value: bytes
    team: str
    end_user: str | None
    model: str
    cost: Fraction
    """None of a deferred call is known; then it is 0."""
    started: float
    ended: float
    deferred: bool

    @property
    def account(self) -> str:
        """Who pays by the default settings."""
        return self.end_user or self.team


@dataclass
class Sums:
    """What somebody spent."""

    calls: int = 0
    cost: Fraction = Fraction(0)
    charged: Fraction = Fraction(0)
    credits: int = 0
    deferred: int = 0
    ids: list[str] = field(default_factory=list)

    def add(self, call: Call, markup: Fraction) -> None:
        """Add a call."""
        if call.deferred:
            self.deferred += 1
            return
        charged = call.cost * markup
        self.calls += 1
        self.cost += call.cost
        self.charged += charged
        self.credits += ceil(charged * 10_000_000)


def calls(count: int, seed: int = 16) -> Iterator[Call]:
    """Calls from the last days of September to the first of November.

    A fifth is of end users; one in fifty has no cost; some begin in October and end after it.
    """
    chance = random.Random(seed)  # noqa: S311 - the same calls each time
    for number in range(count):
        team = chance.choice(list(TEAMS))
        model = chance.choice(list(MODELS))
        end_user = f"user-{chance.randrange(20)}" if number % 5 == 0 else None
        started = chance.uniform(OCTOBER - 2 * _DAY, NOVEMBER + 2 * _DAY)
        if number % 100 == 7:
            started = NOVEMBER - chance.uniform(0.001, 5)
        started = round(started, 3)
        deferred = number % 50 == 49
        digits = "0" if deferred else _cost(chance, MODELS[model])
        ended = round(started + chance.uniform(0.01, 60), 3)
        value = costing(
            digits,
            id=f"chatcmpl-{number}",
            litellm_call_id=f"call-{number}",
            model=model,
            model_group=model,
            end_user=end_user,
            startTime=started,
            endTime=ended,
            completionStartTime=started,
            metadata={
                "user_api_key_team_id": team,
                "user_api_key_team_alias": TEAMS[team],
                "user_api_key_alias": f"{team}-key",
                "user_api_key_hash": f"{list(TEAMS).index(team):064x}",
                "user_api_key_user_id": "default_user_id",
                "user_api_key_org_id": "org-1",
                "spend_logs_metadata": {"run_id": f"run-{number // 10}"},
            },
        )
        yield Call(value, team, end_user, model, Fraction(digits), started, ended, deferred)


def _cost(chance: random.Random, base: str) -> str:
    """A price as LiteLLM writes it: the shortest digits of a float, often with an exponent."""
    return repr(float(base) * chance.randint(1, 2_000))
