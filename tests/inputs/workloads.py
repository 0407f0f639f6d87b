"""A made-up month of a platform: what its models cost, and who asks them for what.

Prices are those of models of 2025 and 2026. Tokens of chats and of code completions have
medians of 1,020 and 129, and of 1,500 and 13: assumed, not measured by us. Lengths of prompts and
answers are log-normal; answers have a longest one, and grow by a fifth in the time.
Costs are floats, as LiteLLM computes and writes them.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from math import exp
from typing import Final

from charging.backtest import PastCall
from charging.decision import Policy
from charging.learning import Sample
from charging.outcomes import Charge
from schemas.receipt import ChargeReason
from tests.inputs.callbacks import costing, decided

BEGINS: Final = datetime(2026, 9, 23, tzinfo=UTC).timestamp()
"""A week before the month: something is known of the models when it begins."""
ENDS: Final = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
FREE_MODELS: Final = ("own-*",)
_CUSTOMERS: Final = {
    ChargeReason.USAGE, ChargeReason.PARTIAL, ChargeReason.FREE_MODEL, ChargeReason.CACHE_HIT,
}  # fmt: skip
_MILLION: Final = 1e-6
_LONG_PROMPT: Final = 200_000


@dataclass(frozen=True)
class Model:
    """A model group; prices in US dollars for a million tokens."""

    name: str
    input: float
    output: float
    cached: float
    request: float = 0.0
    """Of each call, such as a search."""
    long_input: float = 1.0
    """Factor on the input price above 200,000 tokens; half of what it adds, on the output price."""
    cached_write: float = 1.0
    """Factor on the input price of what is written to a cache."""
    elsewhere: float = 1.0
    """Factor on all prices in a second deployment, which takes half of the calls."""


@dataclass(frozen=True)
class Workload:
    """What is asked of a model: how many of a hundred calls, and how long these are."""

    model: Model
    weight: float
    prompt: int
    prompt_spread: float
    answer: int
    answer_spread: float
    longest: int = 8_192
    cached: float = 0.0
    """Share of calls with a prompt that is cached in part."""
    call_type: str = "acompletion"


MINI: Final = Model("gpt-4o-mini", 0.15, 0.60, 0.075)
CODE: Final = Model("codestral", 0.30, 0.90, 0.30)
SONNET: Final = Model(
    "claude-sonnet", 3.00, 15.00, 0.30, long_input=2.0, cached_write=1.25
)  # fmt: skip
THINKING: Final = Model("gpt-5", 1.25, 10.00, 0.125)
LARGE: Final = Model("gpt-4o", 2.50, 10.00, 1.25, elsewhere=1.10)
SEARCH: Final = Model("sonar", 1.00, 1.00, 1.00, request=0.005)
EMBEDDING: Final = Model("text-embedding-3-small", 0.02, 0.0, 0.02)
PICTURE: Final = Model("gpt-image", 0.0, 0.0, 0.0, request=0.04)
OWN: Final = Model("own-llama", 0.0, 0.0, 0.0)
RARE: Final = Model("command-r", 0.50, 1.50, 0.50)

WORKLOADS: Final = (
    Workload(MINI, 26, 1_020, 0.8, 129, 0.8),
    Workload(CODE, 18, 1_500, 0.7, 13, 1.0, longest=512),
    Workload(SONNET, 20, 12_000, 1.0, 250, 0.9, cached=0.4),
    Workload(THINKING, 8, 2_500, 0.9, 700, 0.6),
    Workload(LARGE, 10, 2_000, 0.8, 180, 0.8),
    Workload(SEARCH, 3, 120, 0.6, 350, 0.4),
    Workload(EMBEDDING, 10, 400, 1.0, 0, 0, call_type="aembedding"),
    Workload(PICTURE, 2.5, 0, 0, 0, 0, call_type="aimage_generation"),
    Workload(OWN, 2, 800, 0.8, 100, 0.8),
    Workload(RARE, 0.5, 900, 0.7, 120, 0.7),
)
TEAMS: Final = {"assistants": 50, "coders": 30, "research": 15, "trial": 5}


def workload(count: int, seed: int = 18) -> Iterator[bytes]:
    """Callbacks of calls in the order in which they began, from a week before October to its end.

    Agents make some calls at once; one call in fifty is answered from LiteLLM's cache.
    """
    chance = random.Random(seed)  # noqa: S311 - the same calls each time
    starts = sorted(_starts(chance, count))
    weights = [one.weight for one in WORKLOADS]
    for number, started in enumerate(starts):
        [kind] = chance.choices(WORKLOADS, weights)
        [team] = chance.choices(list(TEAMS), list(TEAMS.values()))
        yield _call(chance, number, kind, team, started)


def past_calls(elements: Iterable[bytes], rules: Policy) -> list[PastCall]:
    """Customers' calls of the receipts that callbacks become, in the order in which they began.

    Of those of one call, the first.
    """
    decisions = [decided(value, rules).decision for value in elements]
    charges = [one for one in decisions if isinstance(one, Charge)]
    found = {one.receipt.id: one for one in reversed(charges)}
    calls = [_past(one) for one in found.values() if one.receipt.charge_reason in _CUSTOMERS]
    return sorted(calls, key=lambda call: call.started)


def _past(charge: Charge) -> PastCall:
    receipt = charge.receipt
    return PastCall(
        model=receipt.model or "",
        account=receipt.billing_account_id,
        started=charge.started_at or receipt.occurred_at,
        ended=receipt.occurred_at,
        sample=Sample(
            receipt.tokens_in or 0,
            receipt.tokens_out or 0,
            receipt.response_cost_usd,
            receipt.charge_reason == ChargeReason.FREE_MODEL,
        ),
        cache_hit=receipt.charge_reason == ChargeReason.CACHE_HIT,
    )


def _starts(chance: random.Random, count: int) -> Iterator[float]:
    left = count
    while left:
        at_once = min(chance.choice((1, 1, 1, 1, 2, 4, 8)), left)
        begun = chance.uniform(BEGINS, ENDS - 10)
        for _ in range(at_once):
            yield round(begun + chance.uniform(0, 2), 3)
        left -= at_once


def _call(chance: random.Random, number: int, kind: Workload, team: str, started: float) -> bytes:
    growth = 1 + 0.2 * (started - BEGINS) / (ENDS - BEGINS)
    prompt = _length(chance, kind.prompt, kind.prompt_spread, 1_000_000)
    answer = _length(chance, kind.answer * growth, kind.answer_spread, kind.longest)
    cached = 0
    if chance.random() < kind.cached:
        cached = int(prompt * chance.uniform(0.3, 0.95))
    hit = number % 50 == 49
    cost = 0.0 if hit else _cost(chance, kind.model, prompt, answer, cached)
    ended = round(started + 0.4 + answer / 60 + prompt / 50_000, 3)
    return costing(
        repr(cost),
        id=f"chatcmpl-{number}",
        litellm_call_id=f"call-{number}",
        call_type=kind.call_type,
        model=kind.model.name,
        model_group=kind.model.name,
        cache_hit=hit or None,
        end_user=team,
        prompt_tokens=prompt,
        completion_tokens=answer,
        startTime=started,
        endTime=ended,
        completionStartTime=started,
        metadata={
            "usage_object": {"prompt_tokens_details": {"cached_tokens": cached}},
            "spend_logs_metadata": {"run_id": f"run-{number // 10}"},
        },
    )


def _length(chance: random.Random, median: float, spread: float, longest: int) -> int:
    if not median:
        return 0
    return min(max(round(median * exp(chance.gauss(0, spread))), 1), longest)


def _cost(chance: random.Random, model: Model, prompt: int, answer: int, cached: int) -> float:
    """A cost as LiteLLM computes it."""
    long = prompt > _LONG_PROMPT
    tier_in = model.long_input if long else 1.0
    tier_out = 1 + (model.long_input - 1) / 2 if long else 1.0
    written = model.cached_write if chance.random() < 0.1 else 1.0
    place = chance.choice((1.0, model.elsewhere))
    usd = (prompt - cached) * model.input * tier_in * written + cached * model.cached * tier_in
    return place * (usd + answer * model.output * tier_out) * _MILLION + model.request
