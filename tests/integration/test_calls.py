"""What people ask the ledger: look-ups by index, and reports of a time, an account or a model."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from typer.testing import CliRunner

from ledger.calls import books_of
from ledger.queries import query
from ledger.receipts import ReceiptWriter
from operator_cli.__main__ import app
from tests.databases.writing import write
from tests.inputs.callbacks import ENDED, decided, element

DAY = datetime.fromtimestamp(ENDED, UTC).date()
BY_INDEX = (
    *("explain_sources", "explain_receipts", "explain_deferrals", "explain_conflicts"),
    *("explain_units", "explain_positions", "explain_deferral_keys", "find_deferred"),
    *("find_receipts", "find_successes", "read_receipts", "find_links"),
    *(
        "find_known_calls",
        "find_open_findings",
        "note_reposted",
        "find_states_of_findings",
        "find_run",
        "run_sums",
    ),
)
ID = "6a4e1a8e-52a7-4f0e-9d39-1f0f5a3a5a11"
ASKED: dict[str, Any] = {
    "name": "call-1",
    "number": 1,
    "id": ID,
    "ids": [UUID(ID)],
    "links": ["a"],
    "sources": ["litellm"],
    "keys": ["call-1"],
    "calls": ["call-1"],
    "group": "billing-consumer",
    "limit": 100,
}
LISTED: dict[str, dict[str, Any]] = {
    "find_receipts": {"ids": json.dumps([ID])},
    "find_successes": {"calls": json.dumps(["call-1"])},
    "find_known_calls": {
        **dict.fromkeys(("keys", "calls", "responses"), json.dumps(["call-1"])),
        "ids": json.dumps([ID]),
        "source": "litellm",
    },
    "find_open_findings": {"source": "litellm", "after": ""},
    "note_reposted": {"source": "litellm", "requests": json.dumps(["call-1"])},
    "find_states_of_findings": {"source": "litellm", "requests": json.dumps(["call-1"])},
    "find_run": {"source": "litellm", "run": "run-1", "attempt": 0},
    "run_sums": {"run": "run-1"},
    "run_open": {"run": "run-1"},
    "run_calls": {"run": "run-1"},
}
"""What a batch or a page hands over as JSON."""


def scans(plan: dict[str, Any]) -> Iterator[str]:
    """The tables and indexes that a plan reads from one end to the other."""
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"]
    # Of an index alone only the least entry is read.
    if plan["Node Type"] in {"Index Scan", "Bitmap Index Scan"} and "Index Cond" not in plan:
        yield plan["Index Name"]
    for below in plan.get("Plans", ()):
        yield from scans(below)


def read_whole(url: str, name: str) -> list[str]:
    """What a query reads from one end to the other."""
    with psycopg.connect(url) as connection:
        connection.execute("SET enable_seqscan = off")
        given = {**ASKED, **LISTED.get(name, {})}
        explain = f"EXPLAIN (FORMAT JSON) {query(name)}".encode()
        [[found]] = connection.execute(explain, given).fetchall()
    return list(scans(found[0]["Plan"]))


@pytest.mark.parametrize("name", BY_INDEX)
def test_a_look_up_reads_no_table_from_end_to_end(migrated_database_url: str, name: str) -> None:
    assert read_whole(migrated_database_url, name) == []


@pytest.mark.parametrize("name", ["run_open", "run_calls"])
def test_the_calls_of_a_run_are_found_by_it_beside_the_open_ones_which_are_few(
    migrated_database_url: str, name: str
) -> None:
    assert set(read_whole(migrated_database_url, name)) <= {"deferred_calls_open"}


def test_what_takes_too_long_is_said_to_be_unfinished(
    ledger: ReceiptWriter, migrated_database_url: str
) -> None:
    write(ledger, decided(element(response_cost=0.0)))
    with psycopg.connect(migrated_database_url) as other:
        # Whoever reads the table of deferred calls waits for this.
        other.execute("LOCK TABLE billing.deferred_calls IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(psycopg.errors.QueryCanceled):
            books_of(migrated_database_url, "call-1", "billing-consumer", 10, 0.2)
    found = books_of(migrated_database_url, "call-1", "billing-consumer", 1, 10)
    assert [row["call_key"] for row in found.deferrals] == ["call-1|chatcmpl-1"]
    assert found.unfinished == []
    write(ledger, decided(element(id="another", litellm_call_id="another", response_cost=0.0)))
    found = books_of(migrated_database_url, "run-1", "billing-consumer", 1, 10)
    assert len(found.deferrals) == 1
    assert found.unfinished == ["there are more than 1 rows of a kind"]


@pytest.fixture
def reported(ledger: ReceiptWriter, migrated_database_url: str) -> str:
    """Receipts of two days, two accounts and two models, and a deferred call."""
    for number, (account, model, days) in enumerate(
        [("red", "gpt-4o-mini", 0), ("red", "claude", 1), ("blue", "claude", 1)]
    ):
        name = f"call-{number}"
        ended = ENDED - days * timedelta(days=1).total_seconds()
        fields = {"end_user": account, "model_group": model, "startTime": ended, "endTime": ended}
        write(ledger, decided(element(id=name, litellm_call_id=name, **fields)))
    write(ledger, decided(element(id="zero", litellm_call_id="zero", response_cost=0.0)))
    return migrated_database_url


def report(url: str, *options: str) -> dict[str, list[dict[str, Any]]]:
    """The tables of `billing report --json`."""
    done = CliRunner().invoke(app, ["report", "--json", *options], env={"DATABASE_URL": url})
    assert done.exit_code == 0, done.output
    told: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
    return told


def test_a_report_is_of_a_time_of_accounts_and_of_models(reported: str) -> None:
    def accounts(*options: str) -> dict[str, int]:
        told = report(reported, "--table", "accounts", *options)["accounts"]
        return {row["account"]: row["receipts"] for row in told}

    assert accounts() == {"red": 2, "blue": 1}
    assert accounts("--from", f"{DAY}") == {"red": 1}
    assert accounts("--to", f"{DAY}") == {"red": 1, "blue": 1}
    assert accounts("--model", "claude", "--account", "red") == {"red": 1}
    assert accounts("--model", "claude", "--model", "gpt-4o-mini") == {"red": 2, "blue": 1}
    [newest] = report(reported, "--table", "receipts", "--from", f"{DAY}")["receipts"]
    assert (newest["cost USD"], newest["credits"]) == ("0.000036", "360")
    assert datetime.fromisoformat(newest["written"]).tzinfo is not None
    assert [row["calls"] for row in report(reported, "--account", "blue")["runs"]] == [1]
    assert "deferred" in report(reported)
    assert "deferred" not in report(reported, "--account", "blue")


def test_a_report_that_is_cut_says_so_where_no_program_reads_it(reported: str) -> None:
    for options, cut in (["--limit", "1"], True), (["--limit", "2"], False):
        arguments = ["report", "--csv", "--table", "accounts", *options]
        done = CliRunner().invoke(app, arguments, env={"DATABASE_URL": reported})
        assert len(done.stdout.splitlines()) == 1 + int(options[1])
        assert ("there are more rows of accounts than 1: raise --limit" in done.stderr) is cut


def test_csv_is_one_table_and_remarks_are_elsewhere(reported: str) -> None:
    environment = {"DATABASE_URL": reported}
    chosen = ["report", "--csv", "--table", "accounts", "--account", "red"]
    done = CliRunner().invoke(app, chosen, env=environment)
    assert (
        done.stdout
        == "account,receipts,cost USD,charged USD,credits\nred,2,0.000072,0.000072,720\n"
    )
    done = CliRunner().invoke(app, ["report", "--csv"], env=environment)
    assert done.exit_code == 2
    assert "--csv prints one table" in done.output
    done = CliRunner().invoke(app, ["report", "--csv", "--json"], env=environment)
    assert done.exit_code == 2


def test_a_table_that_is_piped_is_whole(ledger: ReceiptWriter, migrated_database_url: str) -> None:
    account = "an-account-with-a-long-name-" * 12
    write(ledger, decided(element(end_user=account)))
    done = CliRunner().invoke(app, ["report"], env={"DATABASE_URL": migrated_database_url})
    assert account in done.stdout
    assert "…" not in done.stdout
