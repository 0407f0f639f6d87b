"""A month closes: `billing spend` and `billing statement` against figures computed beside them."""

import csv
import io
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from typer.testing import CliRunner

from demo.spending import spending
from ledger.queries import query
from ledger.spend import Question, ask
from operator_cli.__main__ import app
from tests.databases.former_member import former_release
from tests.databases.writing import write_to
from tests.inputs.callbacks import costing, decided, element, policy
from tests.inputs.months import NOVEMBER, OCTOBER, TEAMS, Call, Sums, calls

PAGE = Path(__file__).parents[2] / "docs" / "finance.md"
OF_OCTOBER = ("--from", "2026-10-01", "--to", "2026-11-01")
SINCE, UNTIL = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
COUNT = 3_000
MARKUP = "1.25"
Rows = list[dict[str, Any]]


def run(url: str, *arguments: str, code: int = 0) -> tuple[str, str]:
    """What a command of `billing` prints on both outputs."""
    environment = {"DATABASE_URL": url, "KAFKA_BOOTSTRAP_SERVERS": ""}
    done = CliRunner().invoke(app, arguments, env=environment)
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


def told(url: str, *arguments: str) -> Any:  # noqa: ANN401 - JSON
    """What a command prints as JSON."""
    return json.loads(run(url, *arguments, "--json")[0])


def table(text: str) -> Rows:
    """The rows of a CSV, as a spreadsheet reads them."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


def expected(
    made: Sequence[Call], by: Callable[[Call], str], at: Callable[[Call], float]
) -> dict[str, Sums]:
    """What was spent in October, by the generator's own account."""
    found: dict[str, Sums] = defaultdict(Sums)
    for call in made:
        if OCTOBER <= at(call) < NOVEMBER:
            found[by(call)].add(call, Fraction(MARKUP))
    return found


def figures(row: dict[str, Any]) -> tuple[int, Fraction, Fraction, int, int]:
    """The figures of a printed row, exactly."""
    return (
        int(row["calls"]),
        Fraction(row["cost USD"]),
        Fraction(row["charged USD"]),
        int(row["credits"]),
        int(row["open deferrals"]),
    )


def figures_of(sums: Sums) -> tuple[int, Fraction, Fraction, int, int]:
    """The same of the generator's."""
    return sums.calls, sums.cost, sums.charged, sums.credits, sums.deferred


@pytest.fixture
def month(migrated_database_url: str) -> tuple[str, list[Call]]:
    """A ledger with the calls of a made-up month, and the calls."""
    made = list(calls(COUNT))
    rules = policy(markup=MARKUP)
    write_to(migrated_database_url, [decided(call.value, rules) for call in made], 500)
    return migrated_database_url, made


def test_a_month_closes_to_the_last_digit(month: tuple[str, list[Call]]) -> None:
    url, made = month
    over_the_edge = [call for call in made if call.started < NOVEMBER <= call.ended]
    assert len(over_the_edge) > 20
    assert sum(call.end_user is not None for call in made) == COUNT / 5
    names: dict[str, Callable[[Call], str]] = {
        "team": lambda call: call.team,
        "account": lambda call: call.account,
        "model": lambda call: call.model,
    }
    for name, by in names.items():
        for ended in (False, True):
            wanted = expected(made, by, lambda c, e=ended: c.ended if e else c.started)  # type: ignore[misc]
            more = ("--by-end",) if ended else ()
            said = told(url, "spend", *OF_OCTOBER, "--by", name, *more)
            assert {row[name]: figures(row) for row in said["rows"]} == {
                key: figures_of(sums) for key, sums in wanted.items()
            }
            whole = expected(made, lambda _: "", lambda c, e=ended: c.ended if e else c.started)  # type: ignore[misc]
            assert figures(said["total"]) == figures_of(whole[""])
            printed, beside = run(url, "spend", *OF_OCTOBER, "--by", name, *more, "--csv")
            assert [figures(row) for row in table(printed)] == list(map(figures, said["rows"]))
            counted = "ended" if ended else "began"
            assert f"calls that {counted} from 2026-10-01 00:00:00 UTC" in beside
    team = next(row for row in said_by(url, "team") if row["team"] == "team-b")
    assert team["team alias"] == TEAMS["team-b"]


def said_by(url: str, *by: str, more: Sequence[str] = OF_OCTOBER) -> Rows:
    """The rows of October by these names."""
    rows: Rows = told(url, "spend", *more, "--by", ",".join(by))["rows"]
    return rows


def test_every_combination_of_names_adds_up_to_the_same(month: tuple[str, list[Call]]) -> None:
    url, _ = month
    whole = told(url, "spend", *OF_OCTOBER)
    assert whole["rows"][0].keys() == whole["total"].keys()
    for by in (["team", "day"], ["account", "key", "model"], ["provider", "run", "agent"]):
        rows = said_by(url, *by)
        assert len({tuple(row[name] for name in by) for row in rows}) == len(rows) > 1
        sums = [sum(some) for some in zip(*map(figures, rows), strict=True)]
        assert tuple(sums) == figures(whole["total"])
    days = [row["day"] for row in said_by(url, "day")]
    assert days == sorted(days)
    assert (days[0], days[-1], len(days)) == ("2026-10-01", "2026-10-31", 31)
    one = said_by(url, "team", more=(*OF_OCTOBER, "--team", "team-a"))
    assert [row["team"] for row in one] == ["team-a"]
    assert one == [row for row in said_by(url, "team") if row["team"] == "team-a"]
    mine = told(url, "spend", *OF_OCTOBER, "--account", "user-3", "--account", "team-c")
    both = [row for row in said_by(url, "account") if row["account"] in ("user-3", "team-c")]
    assert figures(mine["total"]) == tuple(
        sum(some) for some in zip(*map(figures, both), strict=True)
    )


def test_the_last_row_people_see_is_the_sum_of_the_others(month: tuple[str, list[Call]]) -> None:
    url, _ = month
    assert "calls that began at any time; days are days of UTC" in run(url, "spend")[0]
    printed, _ = run(url, "spend", *OF_OCTOBER, "--by", "team")
    lines = [line.split() for line in printed.splitlines() if line.strip()]
    rows = [line for line in lines if line[0] in TEAMS]
    [last] = [line for line in lines if line[0] == "total"]
    for column in range(1, 6):
        assert sum(Decimal(row[-column]) for row in rows) == Decimal(last[-column])


def test_a_statement_has_every_receipt_and_a_checksum_that_anybody_can_compute(
    month: tuple[str, list[Call]], tmp_path: Path
) -> None:
    url, made = month
    wanted = expected(made, lambda call: call.account, lambda call: call.started)["team-b"]
    said = told(url, "statement", "team-b", "2026-10")
    total = said["total"]
    assert (total["receipts"], len(said["receipts"])) == (wanted.calls, wanted.calls)
    assert Fraction(total["charged USD"]) == wanted.charged
    assert Fraction(total["cost USD"]) == wanted.cost
    assert int(total["credits"]) == wanted.credits
    assert total["open deferrals"] == wanted.deferred > 0
    printed, beside = run(url, "statement", "team-b", "2026-10", "--csv")
    rows = table(printed)
    kept = tmp_path / "team-b.csv"
    kept.write_text(printed, "utf-8", newline="")
    # By the program of docs/finance.md, which has none of our code.
    program = PAGE.read_text("utf-8").partition("```python\n")[2].partition("```")[0]
    computed = subprocess.run(
        [sys.executable, "-I", "-c", program, "team-b", "2026-10", kept],
        check=True,
        capture_output=True,
        text=True,
    )
    assert total["checksum"] == computed.stdout.strip()
    assert total["checksum"] in beside
    assert sum(int(row["credits"]) for row in rows) == wanted.credits
    people, _ = run(url, "statement", "team-b", "2026-10")
    assert total["checksum"] in people
    assert all(row["receipt"] in people for row in rows)
    # Again, and by another order of writing: the same.
    assert told(url, "statement", "team-b", "2026-10") == said
    late = costing("0.5", id="late", litellm_call_id="late", end_user="team-b", startTime=OCTOBER)
    write_to(url, [decided(late, policy(markup=MARKUP))])
    assert told(url, "statement", "team-b", "2026-10")["total"]["checksum"] != total["checksum"]


ODD_NAMES = [
    "=1+1", "+cmd", "-2+3", "@SUM(A1)", "\uff1d1", "a,b", 'say "x"', "two\nlines", "nul\0here",
    "Größe 東京 \N{ROCKET}", "-12", "total",
]  # fmt: skip


def test_names_of_strangers_are_one_cell_each_and_computed_nowhere(
    migrated_database_url: str,
) -> None:
    url = migrated_database_url
    write_to(
        url,
        [
            decided(
                element(
                    id=f"{number}",
                    litellm_call_id=f"{number}",
                    end_user=name,
                    metadata={"user_api_key_team_id": name, "user_api_key_alias": name},
                )
            )
            for number, name in enumerate(ODD_NAMES)
        ],
    )
    stored = {name.replace("\0", "\ufffd") for name in ODD_NAMES}
    said = told(url, "spend", "--by", "account,team,key")
    assert {row["account"] for row in said["rows"]} == stored
    rows = table(run(url, "spend", "--by", "account,team,key", "--csv")[0])
    assert {row["account"].removeprefix("'") for row in rows} == stored
    assert {row["calls"] for row in rows} == {"1"}
    for row in rows:
        for name in ("account", "team", "key alias"):
            assert not row[name].startswith(("=", "+", "@", "\uff1d")), row
            assert not row[name].startswith("-") or row[name] == "-12", row
    for name in stored:
        # A name that begins with a hyphen stands behind two of them.
        one = json.loads(run(url, "statement", "--json", "--", name, "2026-11")[0])
        assert (one["account"], one["total"]["receipts"]) == (name, 1)
        assert figures(told(url, "spend", f"--team={name}")["total"])[0] == 1


def test_a_period_without_calls_and_one_that_ends_before_it_begins(
    month: tuple[str, list[Call]],
) -> None:
    url, _ = month
    empty = told(url, "spend", "--from", "2025-01-01", "--to", "2025-02-01", "--by", "team")
    assert empty["rows"] == []
    assert figures(empty["total"]) == figures_of(Sums())
    assert table(run(url, "spend", "--to", "2025-01-01", "--by", "day", "--csv")[0]) == []
    assert "ends at" in run(url, "spend", "--from", "2026-11-01", "--to", "2026-10-01", code=2)[1]
    assert "there are account" in run(url, "spend", "--by", "colour", code=2)[1]
    for no_month in ("2026-13", "2026-1", "october", "0001-01", "٢٠٢٦-10"):
        assert "is no month" in run(url, "statement", "acme", no_month, code=2)[1]
    nobody = told(url, "statement", "nobody", "2026-10")
    assert nobody["receipts"] == []
    assert (nobody["total"]["receipts"], nobody["total"]["credits"]) == (0, "0")


def test_sub_agents_of_a_run_are_a_tree_and_a_deferral_is_counted_where_it_belongs(
    migrated_database_url: str,
) -> None:
    url = migrated_database_url

    def made(number: int, agent: str | None, under: str | None, cost: str) -> bytes:
        spend = {"run_id": "trip", "sub_agent_id": agent, "parent_sub_agent_id": under}
        ids = {"id": f"{number}", "litellm_call_id": f"{number}"}
        return costing(cost, **ids, metadata={"spend_logs_metadata": spend})

    agents = [
        (None, None, "0.1"),
        ("planner", None, "0.2"),
        ("writer", "planner", "0.4"),
        ("reader", "silent", "0.8"),
        ("checker", "writer", "1.6"),
        ("checker", "writer", "0"),
    ]
    write_to(url, [decided(made(number, *one)) for number, one in enumerate(agents)])
    rows = said_by(url, "agent", more=("--run", "trip"))
    seen = [(row["agent"], row["under"], row["credits"]) for row in rows]
    assert seen == [
        ("planner", None, "2000000"),
        ("writer", "planner", "4000000"),
        ("checker", "writer", "16000000"),
        (None, None, "1000000"),
        ("silent", None, "0"),
        ("reader", "silent", "8000000"),
    ]
    assert {row["agent"]: row["credits with sub-agents"] for row in rows} == {
        None: "1000000", "planner": "22000000", "writer": "20000000", "checker": "16000000",
        "silent": "8000000", "reader": "8000000",
    }  # fmt: skip
    assert {row["agent"]: row["open deferrals"] for row in rows}["checker"] == 1
    people, _ = run(url, "spend", "--run", "trip", "--by", "agent")
    assert "     checker " in people
    assert "(itself)" in people


def test_a_receipt_of_the_release_before_counts_by_its_end(migrated_database_url: str) -> None:
    """It does not know its start, nor its team; members of that release write on meanwhile."""
    url = migrated_database_url
    edge = {"startTime": NOVEMBER - 1, "endTime": NOVEMBER + 1}
    team = {"user_api_key_team_id": "team-a"}
    with former_release():
        write_to(url, [decided(element(id="old", **edge, metadata=team))])
    write_to(url, [decided(element(id="new", **edge, metadata=team))])
    october = told(url, "spend", *OF_OCTOBER, "--by", "team,model")
    assert [(row["team"], row["model"], row["calls"]) for row in october["rows"]] == [
        ("team-a", "gpt-4o-mini", 1)
    ]
    november = told(
        url, "spend", "--from", "2026-11-01", "--to", "2026-12-01", "--by", "team,model"
    )
    assert [(row["team"], row["model"], row["calls"]) for row in november["rows"]] == [
        (None, "gpt-4o-mini", 1)
    ]


def test_the_view_for_peoples_own_tools_says_what_the_command_says(
    month: tuple[str, list[Call]],
) -> None:
    url, _ = month
    with psycopg.connect(url) as connection:
        connection.execute("SET ROLE billing_reader")
        rows = connection.execute(
            "SELECT team_id, count(*), sum(charged_credits)::text FROM billing.spend"
            " WHERE day BETWEEN '2026-10-01' AND '2026-10-31' GROUP BY 1"
        ).fetchall()
    said = said_by(url, "team")
    assert sorted(rows) == sorted((row["team"], row["calls"], row["credits"]) for row in said)


@pytest.mark.parametrize(
    ("by", "asked"),
    [
        ("hashtextextended(team_id", {"teams": ["team-a"]}),
        ("hashtextextended(billing_account_id", {"accounts": ["user-3"]}),
        ("_day", {}),
        ("charge_receipts_days", {"by_end": True}),
        ("charge_receipts_run_id", {"runs": ["run-1"], "since": None, "until": None}),
        ("hashtextextended(team_id", {"teams": ["team-a"], "since": SINCE.replace(hour=9)}),
    ],
)
def test_no_question_of_a_month_reads_the_whole_ledger(
    migrated_database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    by: str,
    asked: dict[str, Any],
) -> None:
    """Whatever it asks by: a plan that can do without reading all of it has an index for it."""
    plans = list[str]()

    def explained(name: str) -> LiteralString:
        return f"EXPLAIN {query(name)}" if name == "spend_receipts" else query(name)

    monkeypatch.setattr("ledger.spend.query", explained)
    with psycopg.connect(migrated_database_url) as connection:
        connection.execute("SET enable_seqscan = off")
        question = Question(("model",), **{"since": SINCE, "until": UNTIL, **asked})
        plans += [row["QUERY PLAN"] for row in ask(connection, question).receipts]
    plan = "\n".join(plans)
    assert "Seq Scan on charge_receipts" not in plan
    assert any(by in line for line in plan.splitlines() if "Index" in line), plan


def test_the_demo_tells_what_the_command_says(migrated_database_url: str) -> None:
    url = migrated_database_url
    agents = [("planner", None), ("writer", "planner"), ("checker", "writer"), (None, None)]
    values = [
        element(
            id=f"{number}",
            litellm_call_id=f"{number}",
            metadata={
                "spend_logs_metadata": {
                    "run_id": "trip",
                    "sub_agent_id": agent,
                    "parent_sub_agent_id": under,
                }
            },
        )
        for number, (agent, under) in enumerate(agents)
    ]
    alone = element(id="alone", litellm_call_id="alone", metadata={}, end_user='o\'brien, "x"')
    others = element(id="other", litellm_call_id="other", end_user="others")
    write_to(url, [decided(value) for value in (*values, alone, others)])
    found = spending(url, SINCE, ["acct-1", 'o\'brien, "x"'])
    assert [(run.run_id, run.calls, run.charged_credits) for run in found.runs] == [
        ("trip", 4, 1440),
        (None, 1, 360),
    ]
    tree = [
        (one.depth, one.sub_agent_id, one.credits_below) for one in found.sub_agents if one.run_id
    ]
    assert tree == [
        (0, None, 360),
        (0, "planner", 1080),
        (1, "writer", 720),
        (2, "checker", 360),
    ]
