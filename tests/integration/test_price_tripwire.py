"""Receipts on a real PostgreSQL, computed again from the pinned price table."""

import csv
import io
import itertools
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from reconciler.__main__ import app
from tests.databases.writing import write_to
from tests.inputs.callbacks import costing, decided
from tests.inputs.made_calls import call as made_call
from tests.processes import room
from tests.processes.reconciling import Reconciling
from tests.waiting import eventually

NOVEMBER = ("--from", "2026-11-01", "--to", "2026-12-01")
_numbers = itertools.count(1)


def call(
    cost: str, model: str = "openai/gpt-4o-mini", day: str = "2026-11-03", **fields: object
) -> bytes:
    """A call of 1,000 prompt tokens and 100 of the answer."""
    name = f"call-{next(_numbers)}"
    began = datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=UTC).timestamp()
    whole = {
        "id": name,
        "litellm_call_id": name,
        "custom_llm_provider": model.partition("/")[0],
        "model": model,
        "model_group": "fast",
        "prompt_tokens": 1_000,
        "completion_tokens": 100,
        "startTime": began,
        "endTime": began + 2,
        "completionStartTime": began + 1,
        **fields,
    }
    return costing(cost, **whole)


def usage(**counted: object) -> dict[str, object]:
    """Metadata with what the provider counted."""
    return {"spend_logs_metadata": {"run_id": "run-1"}, "usage_object": counted}


@pytest.fixture
def url(migrated_database_url: str) -> str:
    """A ledger with right and wrong costs of some models.

    GPT-4o mini costs 0.15 and 0.6 dollars a million tokens, 0.075 if read from a cache; Claude
    Sonnet 4.5 3 and 15, 3.75 to write to a cache; Gemini 2.5 Pro 1.25 and 10, and 2.5 and 15 above
    200,000 prompt tokens.
    """
    cached = usage(prompt_tokens_details={"cached_tokens": 400})
    records = [
        call("0.00021"),
        call("0.00018", metadata=cached),
        # As of a table with half the price.
        *[call("0.000105", "openai/gpt-5", day="2026-11-04") for _ in range(3)],
        # Within what writing to a cache adds, and beyond it.
        call("0.0045", "anthropic/claude-sonnet-4-5"),
        call("0.00525", "anthropic/claude-sonnet-4-5"),
        call("0.5", "anthropic/claude-haiku-4-5"),
        call("0.50375", "vertex_ai/gemini-2.5-pro", prompt_tokens=201_000, completion_tokens=83),
        call("0.00225", "vertex_ai/gemini-2.5-pro"),
        call("1", "hosted_vllm/llama"),
        call("0", cache_hit=True),
        call("7", "openai/gpt-4o-mini", prompt_tokens=0, completion_tokens=0),
        call("900", day="2026-10-31"),
    ]
    write_to(migrated_database_url, [decided(record) for record in records])
    return migrated_database_url


def run(url: str, *arguments: str, code: int) -> tuple[str, str]:
    """What `audit` prints on both outputs."""
    done = CliRunner().invoke(app, ["audit", *arguments], env={"DATABASE_URL": url})
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


def checked(url: str, *arguments: str, code: int) -> dict[str, Any]:
    """What `audit --prices` tells programs."""
    out, _ = run(url, "--prices", *NOVEMBER, *arguments, "--json", code=code)
    told: dict[str, Any] = json.loads(out)
    return told


def by_model(told: dict[str, Any]) -> dict[str, tuple[str, int]]:
    """The verdict on each model, and how many of its receipts are off."""
    return {line["model"]: (line["verdict"], line["off"]) for line in told["lines"]}


def test_exactly_the_models_that_drift_are_named(url: str) -> None:
    told = checked(url, "--tolerance-usd", "0.001", code=1)
    assert by_model(told) == {
        "anthropic/claude-haiku-4-5": ("drifts", 1),
        "openai/gpt-5": ("drifts", 3),
        "hosted_vllm/llama": ("unknown", 0),
        "vertex_ai/gemini-2.5-pro": ("agrees", 0),
        "anthropic/claude-sonnet-4-5": ("agrees", 0),
        "openai/gpt-4o-mini": ("agrees", 0),
    }
    assert (told["drifting"], told["unknown"]) == (2, 1)
    assert told["prices"].startswith("LiteLLM 1.")
    assert (told["from"], told["through"]) == ("2026-11-01", "2026-11-30")
    half = next(line for line in told["lines"] if line["model"] == "openai/gpt-5")
    # 1,000 at 1.25 and 100 at 10 dollars a million, three times.
    assert (half["said_usd"], half["least_usd"], half["off_usd"]) == (
        "0.000315",
        "0.00675",
        "0.006435",
    )
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT provider_model FROM billing.charge_receipts WHERE call_key = %s",
            [half["example"]],
        ).fetchone()
    assert found == ("openai/gpt-5",)


def test_what_says_nothing_of_prices_is_counted(url: str) -> None:
    told = checked(url, code=1)
    assert told["not_compared"] == {
        "answered from LiteLLM's cache, which costs nothing": 1,
        "no tokens counted": 1,
    }
    assert sum(line["receipts"] for line in told["lines"]) == 11


def test_nothing_is_written_and_no_balance_moves(url: str) -> None:
    counts = "SELECT count(*), sum(charged_credits) FROM billing.charge_receipts"
    with psycopg.connect(url) as connection:
        before = connection.execute(counts).fetchone()
    checked(url, code=1)
    with psycopg.connect(url) as connection:
        assert connection.execute(counts).fetchone() == before


def test_prices_of_ones_own_are_a_table_in_litellms_form(url: str, tmp_path: Path) -> None:
    own = tmp_path / "prices.json"
    vllm = {"litellm_provider": "hosted_vllm", "input_cost_per_token": 0.001, "mode": "chat"}
    own.write_text(json.dumps({"llama": vllm}))
    out, _ = run(url, "--price-table", str(own), *NOVEMBER, "--json", code=0)
    told = json.loads(out)
    assert told["prices"] == str(own)
    assert by_model(told)["hosted_vllm/llama"] == ("agrees", 0)
    assert told["unknown"] == len(told["lines"]) - 1


def test_a_person_and_a_spreadsheet_read_the_same(url: str) -> None:
    out, _ = run(url, "--prices", *NOVEMBER, code=1)
    assert "1 of 6 models drift: anthropic/claude-haiku-4-5" in out
    assert "of 1 the table has no price, so nothing is known of them" in out
    out, err = run(url, "--prices", *NOVEMBER, "--csv", code=1)
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert [row["verdict"] for row in rows].count("drifts") == 1
    assert sum(Decimal(row["said_usd"]) for row in rows) == Decimal("2.016455")
    assert "1 of 6 models drift" in err


def test_the_operators_command_hands_the_question_over(url: str) -> None:
    given = ("audit", "--prices", *NOVEMBER, "--tolerance-usd", "1000")
    done = room.run({"DATABASE_URL": url}, *given, room="operator_cli")
    assert (done.returncode, done.stderr) == (0, "")
    assert "0 of 6 models drift" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--prices"], "--from and --to are needed"),
        (["--prices", "--from", "2026-11-01T01:00", "--to", "2026-12-01"], "are days here"),
        (["--price-table", "/none", *NOVEMBER], "no price table"),
        (["--prices", *NOVEMBER, "--rate", "EUR=1"], "belong to --provider-bill"),
        (["--prices", *NOVEMBER, "--provider-bill", "/none"], "two questions: ask one"),
        (["--prices", *NOVEMBER], "DATABASE_URL"),
    ],
)
def test_wrong_use_ends_with_2_and_says_what_to_do(arguments: list[str], said: str) -> None:
    assert said in run("postgresql://nobody@127.0.0.1:1/none", *arguments, code=2)[1]


def at_noon_of_yesterday() -> tuple[datetime, dict[str, str]]:
    """That moment, and settings by which a reconciler audits the day before it.

    Half a day from either midnight: the day that is audited does not change meanwhile.
    """
    now = datetime.now(UTC)
    noon = now.replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
    return noon, {
        "RECONCILER_DAILY_AUDIT": "true",
        "RECONCILER_OVERLAP_S": str(int((now - noon).total_seconds())),
        "RECONCILER_LOOK_BACK_S": "0",
        "RECONCILER_WINDOW_S": "86400",
    }


def test_the_reconciler_measures_the_prices_of_the_day_that_it_audits(
    installation: Reconciling,
) -> None:
    noon, daily = at_noon_of_yesterday()
    began = noon - timedelta(days=1)
    known = {"prompt_tokens": 1_000, "completion_tokens": 100}
    installation.called(
        [
            made_call(1, began, cost=0.00021, **known),
            made_call(2, began, cost=0.5, **known),
            made_call(3, began, cost=0.25, model="openai/my-own", **known),
            made_call(4, noon, cost=900.0, **known),
        ]
    )
    installation.consuming.all_committed()
    member = installation.start(**daily)
    wanted = {
        "billing_reconciler_priced_usd": 0.50021,
        "billing_reconciler_price_drift_usd": 0.49979,
        "billing_reconciler_unpriced_usd": 0.25,
    }
    eventually(
        lambda: {name: member.counted(name) for name in wanted} == wanted, "the prices of the day"
    )
    assert member.said("costs are not those of the price table")


def test_a_reconciler_measures_no_prices_that_nobody_wants(installation: Reconciling) -> None:
    noon, daily = at_noon_of_yesterday()
    installation.called([made_call(1, noon - timedelta(days=1), cost=0.5)])
    installation.consuming.all_committed()
    member = installation.start(**daily, RECONCILER_DAILY_PRICES="false")
    eventually(lambda: member.said("it balances"), "the audit")
    assert member.counted("billing_reconciler_priced_usd") == 0
