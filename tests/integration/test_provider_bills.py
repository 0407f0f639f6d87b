"""Bills of providers with known drift against receipts on a real PostgreSQL.

Exactly the drifting models and days are named.
"""

import csv
import gzip
import io
import itertools
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from typer.testing import CliRunner

from ledger.model_days import model_days
from reconciler.__main__ import app
from tests.databases.writing import write_to
from tests.inputs.callbacks import costing, decided
from tests.inputs.provider_bills import (
    EDITION,
    Charged,
    anthropic_page,
    aws_row,
    dumped,
    google_row,
    lines,
    openai_dashboard,
    table,
)
from tests.processes import room

_numbers = itertools.count(1)


class Said(NamedTuple):
    """A call as LiteLLM tells it: 0 makes a deferred one."""

    provider: str
    model: str
    day: str
    usd: str
    tokens: int = 100


def written(url: str, said: Iterable[Said]) -> None:
    """Write the calls into the ledger as the consumer does."""
    write_to(url, [decided(_element(one)) for one in said])


def _element(one: Said) -> bytes:
    name = f"call-{next(_numbers)}"
    began = datetime.fromisoformat(f"{one.day}T12:00:00").replace(tzinfo=UTC).timestamp()
    return costing(
        one.usd,
        id=name,
        litellm_call_id=name,
        custom_llm_provider=one.provider,
        model=one.model,
        model_group=one.model.rpartition("/")[2],
        prompt_tokens=one.tokens,
        completion_tokens=0,
        startTime=began,
        endTime=began + 2,
        completionStartTime=began + 1,
    )


def run(url: str, *arguments: str, code: int) -> tuple[str, str]:
    """What `audit` prints on both outputs; it asks no proxy, and needs none."""
    environment = {"DATABASE_URL": url, "LITELLM_URL": "", "RECONCILER_SOURCE": "eu"}
    done = CliRunner().invoke(app, ["audit", *arguments], env=environment)
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


def audited(url: str, bill: Path, *arguments: str, code: int) -> dict[str, Any]:
    """What `audit --provider-bill` tells programs of a bill."""
    out, _ = run(url, "--provider-bill", str(bill), *arguments, "--json", code=code)
    told: dict[str, Any] = json.loads(out)
    return told


def drifting(told: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The models and days that are named, and what each is."""
    return [
        (one["model"], one["day"], one["verdict"])
        for one in told["lines"]
        if one["verdict"] != "agrees"
    ]


def days(month: str, count: int) -> list[str]:
    """The first days of a month."""
    return [f"{month}-{day:02}" for day in range(1, count + 1)]


@pytest.fixture
def openai(migrated_database_url: str, tmp_path: Path) -> Path:
    """A bill of ten days and two models; the books lack a call, and hold one twice as dear."""
    charged, said = list[Charged](), list[Said]()
    for day in days("2026-11", 10):
        charged += [
            Charged("gpt-5-2025-08-07, input", day, "0.75"),
            Charged("gpt-5-2025-08-07, output", day, "0.25"),
            Charged("gpt-4o-mini-2024-07-18, input", day, "0.36"),
            Charged("web search tool calls", day, "5"),
        ]
        said += [Said("openai", "openai/gpt-5", day, "0.5")] * 2
        said += [Said("openai", "gpt-4o-mini", day, "0.12")] * 3
        said += [Said("azure", "azure/gpt-5", day, "77")]
    said.remove(Said("openai", "openai/gpt-5", "2026-11-04", "0.5"))
    said[-2] = Said("openai", "gpt-4o-mini", "2026-11-10", "0.24")
    written(migrated_database_url, said)
    path = tmp_path / "openai.csv"
    path.write_bytes(openai_dashboard(charged))
    return path


def test_a_bill_of_openai_names_the_model_and_day_of_a_lost_and_of_a_dear_call(
    migrated_database_url: str, openai: Path
) -> None:
    told = audited(migrated_database_url, openai, code=1)
    assert drifting(told) == [
        ("gpt-5-2025-08-07", "2026-11-04", "drifts"),
        ("gpt-4o-mini-2024-07-18", "2026-11-10", "drifts"),
    ]
    assert (told["from"], told["through"], len(told["lines"])) == ("2026-11-01", "2026-11-10", 20)
    lost = next(one for one in told["lines"] if one["verdict"] == "drifts")
    assert lost["provider_usd"] == "1"
    assert (lost["ours_usd"], lost["difference_usd"], lost["ratio"]) == ("0.5", "0.5", "0.5")
    assert told["beside"] == [{"what": "web search tool calls", "items": 10, "provider_usd": "50"}]


def test_days_and_tolerance_are_chosen(migrated_database_url: str, openai: Path) -> None:
    before = ("--to", "2026-11-10")
    told = audited(migrated_database_url, openai, *before, code=1)
    assert drifting(told) == [("gpt-5-2025-08-07", "2026-11-04", "drifts")]
    assert told["outside"] == 4
    told = audited(migrated_database_url, openai, *before, "--tolerance", "50", code=0)
    assert told["agrees"]
    told = audited(migrated_database_url, openai, "--tolerance-usd", "0.5", code=0)
    assert drifting(told) == []
    assert told["tolerance"] == {"percent": "2", "usd": "0.5"}


def test_tokens_at_a_spend_of_zero_are_named_by_the_invoice(
    migrated_database_url: str, tmp_path: Path
) -> None:
    """83 % of three days' tokens were told at a cost of 0: 830 EUR invoiced, 1.47 USD spent."""
    charged, said = list[dict[str, Any]](), list[Said]()
    for day in days("2026-11", 5):
        unpriced = day in {"2026-11-02", "2026-11-03", "2026-11-04"}
        euro = {"2026-11-02": "280", "2026-11-03": "270"}.get(day, "280") if unpriced else "10"
        model = "Gemini 2.5 Pro"
        charged += [
            google_row(Charged(f"{model} Text Input - Predictions", day, euro), "EUR"),
            google_row(
                Charged(f"{model} Text Output (Thinking On) - Predictions", day, "0"), "EUR"
            ),
        ]
        if unpriced:
            said += [Said("vertex_ai", "vertex_ai/gemini-2.5-pro", day, "0.49", 17_000)]
            said += [Said("vertex_ai", "vertex_ai/gemini-2.5-pro", day, "0.0", 83_000)]
        else:
            said += [Said("vertex_ai", "vertex_ai/gemini-2.5-pro", day, "10.8")]
    written(migrated_database_url, said)
    bill = tmp_path / "google.json"
    bill.write_bytes(lines(charged))
    _, said_ = run(migrated_database_url, "--provider-bill", str(bill), code=2)
    assert "the bill is in EUR, and receipts are in US dollars" in said_
    told = audited(migrated_database_url, bill, "--rate", "EUR=1.08", code=1)
    assert drifting(told) == [
        ("Gemini 2.5 Pro", "2026-11-02", "drifts"),
        ("Gemini 2.5 Pro", "2026-11-03", "drifts"),
        ("Gemini 2.5 Pro", "2026-11-04", "drifts"),
    ]
    found = [one for one in told["lines"] if one["verdict"] == "drifts"]
    assert sum(Decimal(one["provider_usd"]) for one in found) == Decimal("896.4")
    assert sum(Decimal(one["ours_usd"]) for one in found) == Decimal("1.47")
    assert [(one["deferred"], one["deferred_tokens"]) for one in found] == [(1, 83_000)] * 3


def test_a_report_of_aws_names_a_wrong_price_and_what_no_callback_told(
    migrated_database_url: str, tmp_path: Path
) -> None:
    charged, said = list[dict[str, str]](), list[Said]()
    for day in days("2026-11", 6):
        charged += [
            aws_row(Charged("USE1-NovaLite-input-tokens", day, "0.6")),
            aws_row(Charged("USE1-NovaLite-output-tokens", day, "0.4")),
            aws_row(Charged("Claude Sonnet 4.5" + EDITION, day, "3")),
            aws_row(Charged("BoxUsage:m5", day, "900"), line_item_product_code="AmazonEC2"),
            aws_row(Charged("tax", day, "0.19"), line_item_line_item_type="Tax"),
        ]
        said += [
            Said("bedrock", "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", day, "3"),
            Said("bedrock_converse", "amazon.nova-lite-v1:0", day, "1"),
        ]
    # As of the 5th, LiteLLM knew a wrong price of Nova.
    said[-1] = Said("bedrock_converse", "amazon.nova-lite-v1:0", "2026-11-06", "1.5")
    said[-3] = Said("bedrock_converse", "amazon.nova-lite-v1:0", "2026-11-05", "1.5")
    charged.append(aws_row(Charged("Claude Opus 4.1" + EDITION, "2026-11-03", "40")))
    said.append(Said("bedrock", "bedrock/amazon.titan-text-v1", "2026-11-02", "0.2"))
    written(migrated_database_url, said)
    parts = tmp_path / "1.csv.gz", tmp_path / "2.csv"
    parts[0].write_bytes(gzip.compress(table(charged[:12])))
    parts[1].write_bytes(table(charged[12:]))
    told = audited(migrated_database_url, parts[0], "--provider-bill", str(parts[1]), code=1)
    assert drifting(told) == [
        ("bedrock/amazon.titan-text-v1", "2026-11-02", "only in the ledger"),
        ("Claude Opus 4.1", "2026-11-03", "only on the bill"),
        ("NovaLite", "2026-11-05", "drifts"),
        ("NovaLite", "2026-11-06", "drifts"),
    ]
    assert {one["what"]: one["items"] for one in told["beside"]} == {
        "other services of AWS": 6,
        "Tax of Bedrock": 6,
    }


@pytest.fixture
def anthropic(migrated_database_url: str, tmp_path: Path) -> Path:
    """A bill that agrees, of a model whose price fell by the last digit within a tolerance."""
    charged, said = list[Charged](), list[Said]()
    for day in days("2026-11", 4):
        charged += [
            Charged("claude-haiku-4-5-20251001", day, "1.2345678901234567891"),
            Charged("Web Search Usage", day, "0.1"),
        ]
        said += [Said("anthropic", "anthropic/claude-haiku-4-5", day, "1.2345678901234567891")]
    written(migrated_database_url, said)
    path = tmp_path / "anthropic.json"
    path.write_bytes(dumped(anthropic_page(charged)))
    return path


def test_a_bill_that_agrees_ends_with_0_in_every_form(
    migrated_database_url: str, anthropic: Path
) -> None:
    exactly = ("--tolerance", "0", "--tolerance-usd", "0")
    told = audited(migrated_database_url, anthropic, *exactly, code=0)
    assert (told["agrees"], told["drifting"], told["unread_count"]) == (True, 0, 0)
    assert told["provider_usd"] == told["ours_usd"] == "4.9382715604938271564"
    out, _ = run(migrated_database_url, "--provider-bill", str(anthropic), code=0)
    assert "all 4 agree" in out
    assert "Web Search Usage" in out
    out, err = run(migrated_database_url, "--provider-bill", str(anthropic), "--csv", code=0)
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert [row["verdict"] for row in rows] == ["agrees"] * 4
    assert rows[0]["provider_usd"] == "1.2345678901234567891"
    assert "all 4 agree" in err


def test_a_line_that_cannot_be_read_is_told_and_no_bill_with_one_agrees(
    migrated_database_url: str, anthropic: Path
) -> None:
    page = json.loads(anthropic.read_text())
    page["data"][1]["results"][0]["amount"] = "about a dollar"
    anthropic.write_text(json.dumps(page))
    told = audited(migrated_database_url, anthropic, "--limit", "0", code=1)
    assert (told["unread_count"], told["unread"]) == (1, [])
    told = audited(migrated_database_url, anthropic, code=1)
    why = "amount is 'about a dollar', no amount"
    assert told["unread"] == [{"where": "item 1, bucket 2, result 1", "why": why}]
    out, _ = run(migrated_database_url, "--provider-bill", str(anthropic), code=1)
    assert why in out
    assert "1 of 8 lines could not be read" in out


def test_names_that_the_rule_does_not_join_are_joined_by_hand(
    migrated_database_url: str, tmp_path: Path
) -> None:
    written(migrated_database_url, [Said("openai", "openai/team-model", "2026-11-01", "2")])
    bill = tmp_path / "bill.csv"
    bill.write_bytes(openai_dashboard([Charged("ft:gpt-4o:acme, input", "2026-11-01", "2")]))
    assert len(drifting(audited(migrated_database_url, bill, code=1))) == 2
    pair = ("--same-model", "ft:gpt-4o:acme=openai/team-model")
    assert audited(migrated_database_url, bill, *pair, code=0)["agrees"]


def test_calls_that_the_reconciler_misses_stand_beside_the_bill(
    migrated_database_url: str, anthropic: Path
) -> None:
    with psycopg.connect(migrated_database_url) as connection:
        connection.cursor().executemany(
            "INSERT INTO billing.reconciler_findings"
            " (source_system, request_id, verdict, spend_usd, started_at, closed_at)"
            " VALUES ('litellm', %s, %s, 0.25, %s, %s)",
            [
                ("1", "missing", "2026-11-02T00:00:00Z", None),
                ("2", "unidentified", "2026-11-02T23:59:59Z", None),
                ("3", "missing", "2026-11-02T12:00:00Z", "2026-11-03T00:00:00Z"),
                ("4", "differs", "2026-11-02T12:00:00Z", None),
                ("5", "missing", "2026-11-05T00:00:00Z", None),
                ("6", "missing", "2026-11-04T23:59:59Z", None),
            ],
        )
    told = audited(migrated_database_url, anthropic, code=0)
    assert told["missing"] == [
        {"day": "2026-11-02", "calls": 2, "cost_usd": "0.5"},
        {"day": "2026-11-04", "calls": 1, "cost_usd": "0.25"},
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--provider-bill", "/none"], "No such file"),
        (["--rate", "EUR=1"], "belong to --provider-bill"),
        ([], "--from and --to are needed, or --provider-bill"),
        (["--provider-bill", "/none", "--rate", "EURO=1"], "--rate is CUR=USD"),
        (["--provider-bill", "/none", "--rate", "EUR=0"], "--rate is more than 0"),
        (["--provider-bill", "/none", "--tolerance", "-1"], "--tolerance is not below 0"),
        (["--provider-bill", "/none", "--tolerance", "some"], "--tolerance is 'some', no amount"),
        (["--provider-bill", "/none", "--same-model", "gpt-5"], "--same-model is BILL=OURS"),
        (
            ["--provider-bill", "/none", "--from", "2026-11-01T09:00"],
            "--from and --to are days here",
        ),
        (["--provider-bill", "/none", "--csv", "--json"], "two forms: choose one"),
    ],
)
def test_wrong_use_ends_with_2_and_says_what_to_do(arguments: list[str], said: str) -> None:
    assert said in run("postgresql://nobody@127.0.0.1:1/none", *arguments, code=2)[1]


def test_a_ledger_that_is_away_is_no_drift(anthropic: Path) -> None:
    bill = ("--provider-bill", str(anthropic))
    assert "DATABASE_URL" in run("postgresql://nobody@127.0.0.1:1/none", *bill, code=2)[1]


def test_whoever_may_read_the_books_may_compare_a_bill(
    migrated_database_url: str, anthropic: Path
) -> None:
    with psycopg.connect(migrated_database_url, autocommit=True) as connection:
        connection.execute("SET ROLE billing_reader")
        assert connection.execute("SELECT current_user").fetchone() == ("billing_reader",)
    reading = f"{migrated_database_url}{'&' if '?' in migrated_database_url else '?'}"
    reading += "options=-c%20role%3Dbilling_reader"
    assert audited(reading, anthropic, code=0)["agrees"]


def test_the_operators_command_hands_a_bill_over(
    migrated_database_url: str, anthropic: Path
) -> None:
    environment = {"DATABASE_URL": migrated_database_url}
    done = room.run(environment, "audit", "--provider-bill", str(anthropic), room="operator_cli")
    assert (done.returncode, done.stderr) == (0, "")
    assert "all 4 agree" in done.stdout


def test_no_days_are_read_but_those_of_the_bill(
    migrated_database_url: str, anthropic: Path
) -> None:
    written(migrated_database_url, [Said("anthropic", "claude-x", "2026-11-05", "9")])
    assert audited(migrated_database_url, anthropic, code=0)["agrees"]
    first, last = (datetime(2026, 11, day, tzinfo=UTC).date() for day in (5, 5))
    [held] = model_days(migrated_database_url, first, last).receipts
    assert (held.model, held.calls, held.cost_usd) == ("claude-x", 1, Decimal(9))
