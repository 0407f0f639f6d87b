"""The figures of docs/estimates.md are those that the code computes."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from charging.backtest import Backtest, Judged, PastCall, Rules
from charging.estimate_settings import EstimateRules
from charging.learning import Learning, learn
from charging.money import credits_of, trimmed, usd_of
from tests.inputs import captures
from tests.inputs.callbacks import policy
from tests.inputs.workloads import FREE_MODELS, past_calls, workload

PAGE: Final = Path(__file__).parents[2] / "docs" / "estimates.md"
SETTINGS: Final = EstimateRules()
RULES: Final = Rules(
    SETTINGS.learning, SETTINGS.terms, SETTINGS.estimate_window, SETTINGS.estimate_calls
)
COUNT: Final = 20_000
OCTOBER: Final = datetime(2026, 10, 1, tzinfo=UTC)
BALANCES: Final = ("5", "20", "50", "100")
Cells = list[list[str]]


def rows(header: str) -> Cells:
    """The cells of the table of the page whose header begins so."""
    _, found, after = PAGE.read_text("utf-8").partition(f"\n| {header} |")
    assert found, f"no table {header}"
    lines = after.split("\n\n")[0].splitlines()[2:]
    return [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines]


@cache
def month() -> Sequence[PastCall]:
    """The calls of the made-up month and of the week before it."""
    return past_calls(workload(COUNT), policy(free=FREE_MODELS))


@cache
def captured() -> Sequence[PastCall]:
    """The captured calls that have a receipt."""
    return past_calls(captures.all_elements(), policy(free=tuple(captures.FREE_MODELS.split(","))))


def judged(calls: Sequence[PastCall], rules: Rules, balances: Sequence[int] = ()) -> Backtest:
    """What is told of calls from October on."""
    found = Backtest(rules, OCTOBER, balances)
    for one in calls:
        found.take(one)
    found.end()
    return found


@cache
def judged_month() -> Backtest:
    """What is told of the made-up month by the default settings."""
    return judged(month(), RULES, [credits_of(Decimal(one)) for one in BALANCES])


def percent(one: Judged) -> str:
    """The share that is covered, rounded down to hundredths of a percent."""
    share = one.share_covered
    return "" if share is None else f"{int(share * 10_000) / 100:.2f}"


def ratio(one: Judged) -> str:
    """The median of held over charged."""
    return "" if one.median_ratio is None else trimmed(one.median_ratio)


def told(name: str, one: Judged) -> list[str]:
    """A row of the tables of models."""
    return [name, f"{one.calls:,}", f"{one.cold:,}", percent(one), ratio(one)]


def by_model() -> Cells:
    """The rows of the made-up month."""
    found = judged_month()
    return [
        *(told(f"`{model}`", one) for model, one in sorted(found.models.items())),
        told("all", found.total),
    ]


def by_quantile() -> Cells:
    """The same month, with other settings of the quantile."""
    found = list[list[str]]()
    for quantile in ("0.98", "0.99", "0.995", "0.999"):
        learning = Learning(Decimal(quantile), SETTINGS.estimate_fewest_calls)
        total = judged(month(), replace(RULES, learning=learning)).total
        found.append([quantile, percent(total), ratio(total)])
    return found


def by_balance() -> Cells:
    """What became of the accounts with each balance."""
    found = judged_month().afforded
    each = [
        (one, [a for (b, _), a in found.items() if b == credits_of(Decimal(one))])
        for one in BALANCES
    ]
    return [
        [
            balance,
            f"{sum(one.calls for one in ones):,}",
            f"{sum(one.refused for one in ones):,}",
            f"{sum(one.refused_falsely for one in ones):,}",
            trimmed(usd_of(min(one.lowest for one in ones))),
        ]
        for balance, ones in each
    ]


def by_capture() -> Cells:
    """What is told of the captured calls."""
    return [told("all captured calls", judged(captured(), RULES).total)]


def of_list_prices() -> Cells:
    """Rates that are learned from the captured calls of a model, few as they are."""
    found = list[list[str]]()
    for model in ("gpt-4o-mini", "real-gpt-4o-mini", "real-custom"):
        samples = [one.sample for one in captured() if one.model == model and not one.cache_hit]
        rates = learn(model, samples, Learning(SETTINGS.estimate_quantile, 5))
        assert rates is not None
        prices = [
            trimmed((one * 10**6).quantize(Decimal("0.0001")))
            for one in (rates.input, rates.output)
        ]
        found.append([f"`{model}`", str(rates.samples), *prices, str(rates.output_tokens)])
    return found


@pytest.mark.parametrize(
    ("header", "computed"),
    [
        ("model of the month", by_model),
        ("quantile", by_quantile),
        ("each account has, USD", by_balance),
        ("captured", by_capture),
        ("model of the captures", of_list_prices),
    ],
)
def test_every_figure_of_the_page_is_computed(header: str, computed: object) -> None:
    assert callable(computed)
    assert rows(header) == computed()


def test_the_month_reaches_what_is_asked_of_it() -> None:
    total = judged_month().total
    assert total.share_covered is not None
    assert total.median_ratio is not None
    assert total.share_covered >= Decimal("0.99")
    assert total.median_ratio <= 3


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_so_do_other_months(seed: int) -> None:
    total = judged(past_calls(workload(COUNT // 2, seed), policy(free=FREE_MODELS)), RULES).total
    assert total.share_covered is not None
    assert total.median_ratio is not None
    assert total.share_covered >= Decimal("0.99")
    assert total.median_ratio <= 3


def test_every_setting_is_told_with_its_default() -> None:
    wanted = [
        [f"`{name.upper()}`", str(field.default)]
        for name, field in EstimateRules.model_fields.items()
        if name != "billing_markup"
    ]
    assert [row[:2] for row in rows("setting")] == wanted
