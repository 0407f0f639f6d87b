"""Rates are found in receipts that tell of tokens and one cost each."""

import random
from collections.abc import Iterable, Sequence
from decimal import Decimal
from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging.estimate import Asked, Rates, Terms, estimate
from charging.learning import Learning, Sample, learn
from charging.money import charge

RULES = Learning(Decimal("0.995"), 100)
TERMS = Terms(Decimal(1), Decimal("0.06"), 4_096)
MILLION = Decimal(1_000_000)
LIST = (Decimal("2.5"), Decimal(10))
"""US dollars for a million tokens of prompt and answer."""


def lengths(count: int, seed: int = 1) -> list[tuple[int, int]]:
    """Tokens of prompts and answers."""
    chance = random.Random(seed)  # noqa: S311 - the same each time
    return [
        (round(1_500 * exp(chance.gauss(0, 0.8))), round(150 * exp(chance.gauss(0, 0.8))) + 1)
        for _ in range(count)
    ]


def costing(tokens_in: int, tokens_out: int, cached: int = 0, factor: str = "1") -> Sample:
    """A call at list prices times a factor; cached tokens cost a tenth."""
    input_, output = LIST
    usd = (tokens_in - cached) * input_ + cached * input_ / 10 + tokens_out * output
    return Sample(tokens_in, tokens_out, usd * Decimal(factor) / MILLION)


def rates_of(samples: Iterable[Sample], rules: Learning = RULES) -> Rates:
    """What must be learned."""
    rates = learn("model", samples, rules)
    assert rates is not None
    return rates


def a_million(rates: Rates) -> tuple[Decimal, Decimal]:
    """The rates as price lists have them, to the nearest tenth of a thousandth."""
    exact = Decimal("0.0001")
    return (rates.input * MILLION).quantize(exact), (rates.output * MILLION).quantize(exact)


def covered(samples: Sequence[Sample], rates: Rates, *, known: bool = False) -> Decimal:
    """The share of calls for which enough is held; `known`: had clients allowed what came."""
    enough = [
        estimate(Asked("model", one.tokens_in, one.tokens_out if known else None), rates, TERMS)
        >= charge(one.cost_usd, Decimal(1))[1]
        for one in samples
    ]
    return Decimal(sum(enough)) / len(enough)


def test_list_prices_are_found_as_they_are() -> None:
    rates = rates_of(costing(*each) for each in lengths(2_000))
    assert a_million(rates) == LIST
    assert (rates.samples, str(rates.request)) == (2_000, "0")


@pytest.mark.parametrize("output", ["1", "2.5", "4.1", "8.33", "30"])
def test_whatever_the_proportion_of_the_prices(output: str) -> None:
    price = Decimal(output)
    samples = [Sample(one, two, (one + two * price) / MILLION) for one, two in lengths(1_000)]
    rates = rates_of(samples)
    # Told in sixteenths of the input rate.
    assert rates.input * MILLION == pytest.approx(Decimal(1), rel=Decimal("0.02"))
    assert rates.output * MILLION == pytest.approx(price, rel=Decimal("0.1"))
    assert covered(samples, rates, known=True) >= Decimal("0.99")


def test_answers_are_never_taken_for_cheaper_than_prompts() -> None:
    samples = [Sample(one, two, one / MILLION) for one, two in lengths(1_000)]
    rates = rates_of(samples)
    assert rates.output >= rates.input


def test_cached_prompts_do_not_make_prompts_cheaper_that_are_not() -> None:
    calls = lengths(2_000)
    samples = [
        costing(one, two, one * 9 // 10 * (at % 10 > 0)) for at, (one, two) in enumerate(calls)
    ]
    rates = rates_of(samples)
    assert a_million(rates) == LIST
    assert covered(samples[::10], rates) > Decimal("0.95")


def test_all_prompts_cached_are_learned_from_as_they_are() -> None:
    samples = [costing(one, two, one // 2) for one, two in lengths(1_000)]
    rates = rates_of(samples)
    assert rates.input * MILLION < LIST[0]
    assert covered(samples, rates) >= Decimal("0.99")


def test_a_tier_for_long_prompts_is_covered() -> None:
    calls = [(one * 40, two) for one, two in lengths(2_000)]
    samples = [costing(one, two, 0, "2" if one > 200_000 else "1") for one, two in calls]
    rates = rates_of(samples)
    long = [one for one in samples if one.tokens_in > 200_000]
    assert len(long) > 50
    # All that are not covered may be long ones: half of a hundredth of 2,000.
    assert covered(long, rates, known=True) >= 1 - Decimal(10) / len(long)
    assert rates.input * MILLION > LIST[0] * Decimal("1.9")
    assert covered(samples, rates) >= Decimal("0.99")


def test_the_dearer_of_two_deployments_is_covered() -> None:
    samples = [costing(*each, 0, "1.2" if at % 4 else "1") for at, each in enumerate(lengths(800))]
    assert rates_of(samples).input * MILLION == pytest.approx(Decimal(3), rel=Decimal("0.01"))


def test_one_odd_cost_in_a_thousand_changes_nothing() -> None:
    samples = [
        costing(*each, 0, "1000" if at == 7 else "1") for at, each in enumerate(lengths(999))
    ]
    assert a_million(rates_of(samples)) == LIST


def test_calls_without_tokens_are_held_for_as_requests() -> None:
    rates = rates_of(Sample(0, 0, Decimal("0.04")) for _ in range(200))
    assert rates == Rates("model", Decimal(0), Decimal(0), 0, 200, Decimal("0.04"))


def test_a_fee_for_each_request_is_covered() -> None:
    fee = Decimal("0.005")
    samples = [Sample(one, two, fee + (one + two) / MILLION) for one, two in lengths(2_000, seed=3)]
    assert covered(samples, rates_of(samples)) >= Decimal("0.99")


def test_embeddings_have_no_answer_to_hold_for() -> None:
    rates = rates_of(Sample(one, 0, one * Decimal("0.00000002")) for one, _ in lengths(300))
    held = estimate(Asked("model", 1_000_000), rates, TERMS)
    assert 200_000 <= held <= 200_010


def test_answers_cost_something_where_calls_do_not_tell_how_much() -> None:
    rates = rates_of([costing(120, 30)] * 200)
    assert rates.output == 4 * rates.input > 0


@pytest.mark.parametrize(("known", "learned"), [(0, False), (99, False), (100, True)])
def test_too_few_calls_tell_nothing(known: int, learned: bool) -> None:  # noqa: FBT001 - pytest's
    samples = [costing(*each) for each in lengths(known)]
    assert (learn("model", samples, RULES) is not None) is learned


def test_one_receipt_of_a_free_model_says_that_it_is_free() -> None:
    free = Sample(500, 100, Decimal(0), free=True)
    assert estimate(Asked("model", 10**6, 10**6), learn("model", [free], RULES), TERMS) == 0
    # It costs something now: not free, and too little is known of it.
    assert learn("model", [costing(500, 100), free], RULES) is None


@pytest.mark.parametrize("seed", range(5))
def test_calls_that_were_not_learned_from_are_covered_too(seed: int) -> None:
    calls = lengths(4_000, seed)
    samples = [costing(one, two, one // 2 * (at % 3 == 0)) for at, (one, two) in enumerate(calls)]
    rates = rates_of(samples[:2_000])
    assert covered(samples[2_000:], rates) >= Decimal("0.99")


tokens = st.integers(0, 10**7)
anything = st.builds(Sample, tokens, tokens, st.decimals("1e-12", 1_000, places=12))


@given(st.lists(anything, min_size=1, max_size=60))
def test_whatever_calls_cost_the_share_that_is_asked_for_is_covered(samples: list[Sample]) -> None:
    rates = rates_of(samples, Learning(Decimal(1), 1))
    assert rates.input >= 0
    assert rates.output >= 0
    assert covered(samples, rates) == 1
