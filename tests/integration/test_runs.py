"""The tree of a run as `billing run` tells it, from the headers of its calls to its total."""

import csv
import io
import json
from contextlib import closing
from decimal import Decimal
from typing import Any

import psycopg
from typer.testing import CliRunner

from billing_stream_client import Run, signed
from charging.outcomes import Decided
from charging.signature import SignatureRules
from ledger.corrections import Corrections
from operator_cli.__main__ import app
from tests.databases.writing import write_to
from tests.inputs.callbacks import ENDED, costing, decided, policy
from tests.integration.corrected import correct

SECRET = "s" * 32
KEY = f"2026-11={SECRET}"
RULES = policy(markup="1.25", signatures=SignatureRules({"2026-11": SECRET.encode()}))
RUN = Run("trip", attempt=1, account="acme", signing_key=KEY)
COSTS = {
    "plan": "0.000123456789012345678901",
    "search": "0.25",
    "search-2": "0.125",
    "read": "0.0625",
    "write": "0.03125",
    "nobody": "0.015625",
    "mallory": "0.0078125",
}


def run(url: str, *arguments: str, code: int = 0) -> tuple[str, str]:
    """What `billing run` prints on both outputs."""
    environment = {"DATABASE_URL": url, "KAFKA_BOOTSTRAP_SERVERS": ""}
    done = CliRunner().invoke(app, ("run", *arguments), env=environment)
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


def call(name: str, said: dict[str, Any], model: str, cost: str | None = None) -> Decided:
    """A call with this metadata; its cost is the one of its name unless another is given."""
    value = costing(
        cost or COSTS[name],
        id=name,
        litellm_call_id=name,
        endTime=ENDED + [*COSTS, "late", "other"].index(name),
        metadata={"spend_logs_metadata": said},
        model_group=model,
        end_user="acme",
    )
    return decided(value, RULES)


def said(agent: str, under: str | None = None) -> dict[str, Any]:
    """What the client's library sends for a call of an agent."""
    headers = RUN.call(agent=agent, parent_agent=under).headers
    found: dict[str, Any] = json.loads(headers["x-litellm-spend-logs-metadata"])
    return found


def three_levels() -> list[Decided]:
    """A planner, two agents below it on one model, one below these; and who forges a name."""
    return [
        call("plan", said("planner"), "big"),
        call("search", said("searcher", "planner"), "small"),
        call("search-2", said("searcher", "planner"), "small"),
        call("read", said("reader", "planner"), "small"),
        call("write", said("writer", "reader"), "small"),
        # No agent, and a model that an agent has too.
        call("nobody", {"run_id": "trip"}, "small"),
        # The header of a call of the planner's, with another agent in it.
        call("mallory", {**said("planner"), "sub_agent_id": "writer"}, "big"),
        call("late", said("writer", "reader"), "small", "0"),
        call("other", signed({"run_id": "other"}, KEY, "acme"), "small", "5"),
    ]


def charged(*names: str) -> Decimal:
    """What these calls were charged together."""
    return sum((Decimal(COSTS[name]) * Decimal("1.25") for name in names), Decimal(0))


def test_the_tree_of_a_run_of_three_levels_and_a_forged_header(migrated_database_url: str) -> None:
    write_to(migrated_database_url, three_levels())
    told = json.loads(run(migrated_database_url, "trip", "--json")[0])
    rows = told["rows"]
    assert [(row["depth"], row["kind"], row["name"], row["signature"]) for row in rows] == [
        (0, "run", "trip", "signed 5, forged 1, unsigned 1"),
        (1, "model", "small", "unsigned"),
        (2, "call", "nobody", "unsigned"),
        # The forged one says nothing of a parent: it is no call of the writer under the reader.
        (1, "agent", "writer", "forged"),
        (2, "call", "mallory", "forged"),
        (1, "agent", "planner", "signed"),
        (2, "call", "plan", "signed"),
        (2, "agent", "searcher", "signed"),
        (3, "call", "search", "signed"),
        (3, "call", "search-2", "signed"),
        (2, "agent", "reader", "signed"),
        (3, "call", "read", "signed"),
        (3, "agent", "writer", "signed"),
        (4, "call", "write", "signed"),
        (4, "call", "late", None),
    ]
    figures = {
        (row["depth"], row["name"]): Decimal(row["charged USD"])
        for row in rows
        if row["charged USD"] is not None
    }
    assert figures[0, "trip"] == charged(*COSTS)
    assert figures[1, "planner"] == charged("plan", "search", "search-2", "read", "write")
    assert figures[2, "searcher"] == charged("search", "search-2")
    assert figures[2, "reader"] == charged("read", "write")
    assert figures[1, "writer"] == charged("mallory")
    assert figures[1, "small"] == charged("nobody")
    calls = [row for row in rows if row["kind"] == "call"]
    assert sum(Decimal(row["charged USD"] or 0) for row in calls) == figures[0, "trip"]
    assert sum(int(row["credits"] or 0) for row in calls) == int(rows[0]["credits"])
    assert Decimal(rows[0]["signed USD"]) == figures[1, "planner"]
    assert (rows[0]["calls"], rows[0]["open"]) == (7, 1)
    assert told["signatures"] == {"signed": 5, "forged": 1, "unsigned": 1}


def test_the_total_of_the_tree_is_that_of_the_books(migrated_database_url: str) -> None:
    write_to(migrated_database_url, three_levels())
    [row, *_] = csv.DictReader(io.StringIO(run(migrated_database_url, "trip", "--csv")[0]))
    with psycopg.connect(migrated_database_url) as connection:
        [books] = connection.execute(
            "SELECT count(*)::text, trim_scale(sum(charged_usd))::text, sum(charged_credits)::text "
            "FROM billing.charge_receipts WHERE run_id = 'trip'"
        ).fetchall()
    assert (row["calls"], row["charged USD"], row["credits"]) == books


def test_a_correction_counts_with_its_call(migrated_database_url: str) -> None:
    write_to(migrated_database_url, three_levels())
    with psycopg.connect(migrated_database_url) as connection:
        query = "SELECT id FROM billing.charge_receipts WHERE litellm_call_id = 'search'"
        [(receipt,)] = connection.execute(query).fetchall()
    with closing(Corrections(migrated_database_url, "")) as kept:
        correct(kept, receipt, "-0.1")
        correct(kept, receipt, "0.03", reference="two")
    rows = json.loads(run(migrated_database_url, "trip", "--json")[0])["rows"]
    figures = {row["name"]: Decimal(row["charged USD"] or 0) for row in rows if row["depth"] != 1}
    assert figures["trip"] == charged(*COSTS) - Decimal("0.07")
    assert figures["searcher"] == charged("search", "search-2") - Decimal("0.07")
    assert figures["search"] == charged("search") - Decimal("0.07")
    assert rows[0]["calls"] == len(COSTS)
    assert [row["name"] for row in rows if row["kind"] == "call"].count("search") == 1


def test_people_read_what_stands_in_for_an_agent_and_what_is_not_shown(
    migrated_database_url: str,
) -> None:
    write_to(migrated_database_url, three_levels())
    told, _ = run(migrated_database_url, "trip", "--limit", "3")
    assert "\n  trip " in told
    assert "\n    (no agent) small " in told
    assert "\n        writer " in told
    assert "calls that name no agent stand under their model: 1" in told
    assert "calls without a receipt, which may add to it: 1" in told
    assert "5 calls are not shown one by one: raise --limit" in told
    whole, _ = run(migrated_database_url, "trip", "--limit", "0", "--json")
    assert [row["name"] for row in json.loads(whole)["rows"]] == [
        "trip", "small", "writer", "planner", "searcher", "reader", "writer",
    ]  # fmt: skip


def test_a_run_that_nobody_names_is_an_error(migrated_database_url: str) -> None:
    write_to(migrated_database_url, [decided(costing("1", metadata={}), RULES)])
    _, error = run(migrated_database_url, "call-1|chatcmpl-1", code=1)
    assert error == "error: no call in the books names the run 'call-1|chatcmpl-1'\n"
