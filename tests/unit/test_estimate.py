"""What is held for a call: exact, rounded up once, and never less for more tokens."""

from decimal import Decimal
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging.estimate import Asked, Rates, Terms, estimate

TERMS = Terms(Decimal(1), Decimal("0.06"), 4_096)
RATES = Rates("mini", Decimal("0.00000015"), Decimal("0.0000006"), 500, 2_000)
PICTURES = Rates("pictures", Decimal(0), Decimal(0), 0, 300, Decimal("0.04"))
FREE = Rates("own", Decimal(0), Decimal(0), 0, 1)

prices = st.decimals(0, 1, places=15)
counts = st.integers(0, 10**9)
rates = st.builds(Rates, st.just("any"), prices, prices, counts, counts, prices)
terms = st.builds(Terms, st.decimals(0, 100, places=6), st.decimals(0, 10, places=6), counts)
asked = st.builds(
    Asked,
    st.just("any"),
    counts,
    st.none() | counts,
    st.integers(1, 128),
    st.none() | prices,
    st.none() | prices,
)


@pytest.mark.parametrize(
    ("call", "known", "held"),
    [
        # 1,000 × 1.5 + 200 × 6 credits
        (Asked("mini", 1_000, 200), RATES, 2_700),
        # Any length: the 500 tokens that were learned.
        (Asked("mini", 1_000), RATES, 1_500 + 3_000),
        # Three answers of one prompt.
        (Asked("mini", 1_000, 200, n=3), RATES, 1_500 + 3_600),
        # No answer of tokens.
        (Asked("mini", 1_000, 0), RATES, 1_500),
        # 1.5 credits are 2.
        (Asked("mini", 1, 0), RATES, 2),
        # What calls have cost counts, not what somebody says that they cost.
        (Asked("mini", 1_000, 200, input_price=Decimal(1)), RATES, 2_700),
        (Asked("pictures", 100), PICTURES, 400_000),
        (Asked("own", 100_000, 100_000), FREE, 0),
    ],
)
def test_learned_rates_count_what_was_learned(call: Asked, known: Rates, held: int) -> None:
    assert estimate(call, known, TERMS) == held


@pytest.mark.parametrize(
    ("call", "held"),
    [
        (
            Asked("new", 1_000, 10, 1, Decimal("0.00000125"), Decimal("0.00001")),
            12_500 + 1_000,
        ),
        # Any length: the setting's 4,096 tokens.
        (
            Asked("new", 1_000, None, 1, Decimal("0.00000125"), Decimal("0.00001")),
            12_500 + 409_600,
        ),
        # A price of one kind only, as embeddings have.
        (Asked("new", 1_000, 10, 1, Decimal("0.00000125"), None), 12_500),
        # Priced at nothing by whoever runs the proxy.
        (Asked("new", 1_000, 10, 1, Decimal(0), Decimal(0)), 0),
        # Nobody knows a price: 0.06 USD are 600,000 credits a thousand tokens.
        (Asked("new", 1_000, 500), 900_000),
        (Asked("new", 1, 0), 600),
    ],
)
def test_a_model_without_rates_costs_what_is_said_or_the_last_resort(
    call: Asked, held: int
) -> None:
    assert estimate(call, None, TERMS) == held


def test_pictures_are_held_for_by_the_piece() -> None:
    pictures = Rates("pictures", Decimal(0), Decimal(0), 0, 100, Decimal("0.04"))
    assert estimate(Asked("pictures", 9, None, n=3), pictures, TERMS) == 1_200_000


def test_the_markup_is_added_before_the_one_rounding() -> None:
    marked_up = Terms(Decimal("1.25"), Decimal("0.06"), 4_096)
    # 7 tokens of 1.5 credits are 10.5, and a quarter more is 13.125.
    assert estimate(Asked("mini", 7, 0), RATES, marked_up) == 14


def _exactly(call: Asked, known: Rates | None, set_: Terms) -> int:
    usual = known.output_tokens if known else set_.output_tokens
    answers = call.n * (usual if call.max_tokens is None else call.max_tokens)
    if known:
        usd = call.prompt_tokens * Fraction(known.input) + answers * Fraction(known.output)
        usd += Fraction(known.request) * call.n
    elif call.input_price is None and call.output_price is None:
        usd = (call.prompt_tokens + answers) * Fraction(set_.usd_per_1k_tokens) / 1_000
    else:
        usd = call.prompt_tokens * Fraction(call.input_price or 0)
        usd += answers * Fraction(call.output_price or 0)
    return ceil(usd * Fraction(set_.markup) * 10_000_000)


@given(call=asked, known=st.none() | rates, set_=terms)
def test_MONEY_IS_EXACT_every_hold_is_rounded_up_once(
    call: Asked, known: Rates | None, set_: Terms
) -> None:
    assert estimate(call, known, set_) == _exactly(call, known, set_)


@given(call=asked, known=st.none() | rates, set_=terms, more=st.tuples(counts, counts))
def test_more_tokens_never_hold_less(
    call: Asked, known: Rates | None, set_: Terms, more: tuple[int, int]
) -> None:
    longest = None if call.max_tokens is None else call.max_tokens + more[1]
    larger = Asked(
        call.model,
        call.prompt_tokens + more[0],
        longest,
        call.n + 1,
        call.input_price,
        call.output_price,
    )
    assert estimate(larger, known, set_) >= estimate(call, known, set_)
