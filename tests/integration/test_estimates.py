"""Rates learned from receipts in the ledger, and holds of past calls as `billing` judges them."""

import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from charging.account import HEALTH_CHECK
from charging.backtest import Backtest, PastCall, Rules
from charging.estimate import Asked, estimate
from charging.estimate_settings import EstimateRules
from charging.learning import learn
from ledger.queries import query
from ledger.rates import TAIL_PAGES, calls_in_order, learned
from operator_cli.__main__ import app
from tests.databases.writing import write_to
from tests.inputs import captures
from tests.inputs.callbacks import costing, decided, policy
from tests.inputs.workloads import FREE_MODELS, WORKLOADS, past_calls, workload

GUARD = "billing_guard"
OCTOBER = ("--from", "2026-10-01", "--to", "2026-11-01")
BEGINS, SINCE, UNTIL = (datetime(2026, *day, tzinfo=UTC) for day in ((9, 1), (10, 1), (11, 1)))
SETTINGS = EstimateRules()
COUNT = 8_000
POLICY = policy(free=FREE_MODELS)


def run(url: str, *arguments: str, code: int = 0, **settings: str) -> tuple[str, str]:
    """What `billing estimate` prints on both outputs."""
    environment = {"DATABASE_URL": url, "KAFKA_BOOTSTRAP_SERVERS": "", **settings}
    done = CliRunner().invoke(app, ["estimate", *arguments], env=environment)
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


def told(url: str, *arguments: str, code: int = 0, **settings: str) -> Any:  # noqa: ANN401 - JSON
    """What it prints as JSON."""
    return json.loads(run(url, *arguments, "--json", code=code, **settings)[0])


def table(text: str) -> list[dict[str, str]]:
    """The rows of a CSV."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.fixture
def month(migrated_database_url: str) -> tuple[str, Sequence[PastCall]]:
    """A ledger with a made-up month, and its calls."""
    made = list(workload(COUNT))
    write_to(migrated_database_url, [decided(value, POLICY) for value in made], 500)
    return migrated_database_url, past_calls(made, POLICY)


def test_holds_of_a_month_cover_the_calls_and_are_not_far_above_them(
    month: tuple[str, Sequence[PastCall]],
) -> None:
    url, calls = month
    said = told(url, "backtest", *OCTOBER)
    total = said["total"]
    assert total["calls"] == sum(SINCE <= one.started < UNTIL for one in calls) > 6_000
    assert Decimal(total["covered %"]) >= 99
    assert Decimal(total["median held/charged"]) <= 3
    # As without a ledger, digit for digit.
    judge = Backtest(
        Rules(SETTINGS.learning, SETTINGS.terms, SETTINGS.estimate_window, SETTINGS.estimate_calls),
        SINCE,
    )
    for one in calls:
        judge.take(one)
    assert {
        row["model"]: (row["calls"], row["cold start"], row["free"]) for row in said["models"]
    } == {model: (one.calls, one.cold, one.free) for model, one in judge.models.items()}
    assert Decimal(total["held USD"]) * 10_000_000 == judge.total.held
    assert Decimal(total["charged USD"]) * 10_000_000 == judge.total.charged
    assert Decimal(total["median held/charged"]) == judge.total.median_ratio
    own = next(row for row in said["models"] if row["model"] == "own-llama")
    assert own["held USD"] == "0"
    # Too few calls to learn from, ever.
    rare = next(row for row in said["models"] if row["model"] == "command-r")
    assert rare["cold start"] == rare["calls"] > 0


def test_people_programs_and_spreadsheets_are_told_the_same(
    month: tuple[str, Sequence[PastCall]],
) -> None:
    url, _ = month
    said = told(url, "backtest", *OCTOBER)
    printed, beside = run(url, "backtest", *OCTOBER, "--csv")
    rows = table(printed)
    assert [row["model"] for row in rows] == [row["model"] for row in said["models"]]
    assert [row["held USD"] for row in rows] == [row["held USD"] for row in said["models"]]
    assert "no receipt tells which length of an answer its client allowed" in beside
    shown = " ".join(run(url, "backtest", *OCTOBER)[0].split())
    assert f"total {said['total']['calls']}" in shown
    assert "calls that began from 2026-10-01 00:00:00 UTC" in shown


def test_accounts_with_a_balance_are_refused_what_they_cannot_afford(
    month: tuple[str, Sequence[PastCall]],
) -> None:
    url, calls = month
    spent = sum(
        one.sample.cost_usd
        for one in calls
        if one.account == "trial" and SINCE <= one.started < UNTIL
    )
    asked = (*OCTOBER, "--account", "trial", "--balance", "0", "--balance", "1000")
    said = told(url, "backtest", *asked, "--balance", str(round(spent / 2, 2)))
    nothing, half, plenty = said["balances"]
    count = said["total"]["calls"]
    assert {row["account"] for row in said["balances"]} == {"trial"}
    assert {row["calls"] for row in said["balances"]} == {count}
    # Calls of free models and those that no balance can pay for are refused by nobody.
    assert 0 < nothing["refused"] < count
    assert nothing["refused falsely"] <= said["total"]["free"]
    assert nothing["refused"] > half["refused"] > half["refused falsely"] > 0
    assert (plenty["refused"], plenty["refused falsely"]) == (0, 0)
    assert (
        1_000 - spent - Decimal("0.001") <= Decimal(plenty["lowest balance USD"]) <= 1_000 - spent
    )
    printed, _ = run(url, "backtest", *OCTOBER, "--balance", "1000", "--csv")
    [every] = table(printed)
    assert (every["account"], every["calls"]) == (
        "",
        str(told(url, "backtest", *OCTOBER)["total"]["calls"]),
    )


def test_the_markup_is_on_both_sides(month: tuple[str, Sequence[PastCall]]) -> None:
    url, _ = month
    plain = told(url, "backtest", *OCTOBER)["total"]
    dearer = told(url, "backtest", *OCTOBER, BILLING_MARKUP="2")["total"]
    assert plain["covered %"] == dearer["covered %"]
    assert Decimal(dearer["held USD"]) == pytest.approx(
        2 * Decimal(plain["held USD"]), rel=Decimal("0.001")
    )


def test_the_guard_learns_the_rates_of_each_model_from_its_newest_calls(
    month: tuple[str, Sequence[PastCall]],
) -> None:
    url, calls = month
    since = UNTIL - timedelta(days=7)
    known = learned(url, GUARD, since, UNTIL, calls=150, rules=SETTINGS.learning, pages=TAIL_PAGES)
    newest: dict[str, list[PastCall]] = {}
    for one in sorted(calls, key=lambda one: one.ended, reverse=True):
        if since <= one.ended < UNTIL and not one.cache_hit:
            newest.setdefault(one.model, []).append(one)
    wanted = {
        model: learn(model, [one.sample for one in ones[:150]], SETTINGS.learning)
        for model, ones in newest.items()
    }
    assert known == {model: rates for model, rates in wanted.items() if rates}
    assert {rates.samples for rates in known.values()} >= {150}
    assert set(known) < {one.model.name for one in WORKLOADS}
    assert estimate(Asked("own-llama", 10_000, 10_000), known["own-llama"], SETTINGS.terms) == 0


def test_no_more_pages_are_read_than_allowed(month: tuple[str, Sequence[PastCall]]) -> None:
    url, _ = month

    def samples(pages: int | None) -> int:
        asked = {"since": BEGINS, "until": UNTIL, "calls": 10_000, "rules": SETTINGS.learning}
        known = learned(url, GUARD, pages=pages, **asked)  # type: ignore[arg-type]
        return sum(rates.samples for rates in known.values())

    whole, tail = samples(None), samples(100)
    assert samples(TAIL_PAGES) == whole > COUNT * 0.9
    assert 0 < tail < whole / 2
    # What is read is what was written last.
    asked = {
        "first": "(100,0)", "first_day": BEGINS.date(), "since": BEGINS, "until": UNTIL, "calls": 5,
    }  # fmt: skip
    with psycopg.connect(url) as connection:
        explained = connection.execute("EXPLAIN " + query("newest_calls"), asked).fetchall()
    plan = "\n".join(row[0] for row in explained)
    assert "Seq Scan" not in plan, plan


def test_rates_are_shown_as_price_lists_have_them(month: tuple[str, Sequence[PastCall]]) -> None:
    url, _ = month
    rows = {row["model"]: row for row in told(url, "rates", "--days", "3660")}
    mini = rows["gpt-4o-mini"]
    assert Decimal(mini["input USD/1M"]) == pytest.approx(Decimal("0.15"), rel=Decimal("0.001"))
    assert Decimal(mini["output USD/1M"]) == pytest.approx(Decimal("0.6"), rel=Decimal("0.001"))
    assert 500 < mini["answer tokens"] < 3_000
    assert rows["gpt-image"]["request USD"] == "0.04"
    assert "command-r" not in rows
    assert "gpt-4o-mini" in run(url, "rates", "--days", "3660")[0]


def test_captured_calls_are_too_few_to_learn_from_and_all_covered(
    migrated_database_url: str,
) -> None:
    url, rules = migrated_database_url, policy(free=tuple(captures.FREE_MODELS.split(",")))
    values = captures.all_elements()
    write_to(url, [decided(value, rules) for value in values], 50)
    with calls_in_order(url, BEGINS.replace(year=2025), UNTIL.replace(year=2027)) as found:
        calls = list(found)
    assert {one.model for one in calls} == {one.model for one in past_calls(values, rules)}
    said = told(url, "backtest", "--from", "2025-09-01", "--to", "2027-11-01")
    assert said["total"]["calls"] == len(calls) == len(past_calls(values, rules)) > 50


def test_calls_that_no_customer_asked_for_teach_nothing(migrated_database_url: str) -> None:
    url = migrated_database_url
    probing = {"user_api_key_team_id": HEALTH_CHECK}
    probes = [
        costing("0.5", id=f"{number}", litellm_call_id=f"{number}", metadata=probing)
        for number in range(120)
    ]
    write_to(url, [decided(value) for value in probes], 50)
    said = told(url, "backtest", "--from", "2026-11-01", "--to", "2026-12-01")
    assert said["total"]["calls"] == 0
    until = UNTIL.replace(year=2027)
    assert learned(url, GUARD, BEGINS, until, calls=500, rules=SETTINGS.learning) == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "2026-11-01", "--to", "2026-10-01"), "nothing is in it"),
        ((*OCTOBER, "--balance", "-1"), "below zero"),
        ((*OCTOBER, "--balance", "much"), "an amount is US dollars"),
        ((*OCTOBER, "--json", "--csv"), "choose one"),
    ],
)
def test_wrong_use_is_said(arguments: tuple[str, ...], said: str) -> None:
    assert said in run("postgresql://127.0.0.1:1/none", "backtest", *arguments, code=2)[1]
