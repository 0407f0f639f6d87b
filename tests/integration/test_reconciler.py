"""The reconciler between a spend log that stands in for LiteLLM's and a real gateway and ledger."""

import json
import os
import random
import signal
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg

from tests.doubles.spend_log_server import Fault
from tests.inputs.made_calls import call, calls
from tests.processes import room
from tests.processes.consuming import Consuming
from tests.processes.reconciling import Reconciling
from tests.waiting import eventually

HOUR = timedelta(hours=1)
CALLS = int(os.environ.get("TEST_CALLS", "500"))
"""Whose callbacks are mangled at random; `TEST_CALLS=10000` takes minutes."""


def call_ids(installation: Reconciling) -> list[str]:
    """The calls that have a receipt, one for each receipt."""
    return sorted(row["litellm_call_id"] for row in installation.consuming.tables.receipts())


def names(*made: dict[str, Any]) -> list[str]:
    """The ids of these calls."""
    return sorted(one["litellm_call_id"] for one in made)


def findings(installation: Reconciling, *, still_open: bool) -> list[str]:
    """Verdict and call of each finding that is open, or closed."""
    with psycopg.connect(installation.consuming.database_url) as connection:
        rows = connection.execute(
            "SELECT verdict || ' ' || litellm_call_id FROM billing.reconciler_findings"
            " WHERE (closed_at IS NULL) = %s ORDER BY 1",
            [still_open],
        ).fetchall()
    return [text for (text,) in rows]


def by_hand(installation: Reconciling, *arguments: str) -> str:
    """What a command of `billing` prints."""
    done = room.run(installation.consuming.environment(), *arguments, room="operator_cli")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def period(since: timedelta = 3 * HOUR) -> list[str]:
    """The options of a time until now."""
    now = datetime.now(UTC)
    return ["--from", (now - since).isoformat(), "--to", now.isoformat()]


def test_ONE_CALL_ONE_RECEIPT_WHICHEVER_PATH_a_lost_call_is_posted_once_and_then_closed(
    installation: Reconciling,
) -> None:
    made = list(calls(20, HOUR))
    arrived, lost = made[:15], made[15:]
    installation.called(arrived, lost)
    installation.consuming.all_committed()
    first = installation.told("once")
    assert (first["rows"], first["reposted"]) == (20, 5)
    assert first["verdicts"] == {"matched": 15, "missing": 5}
    eventually(lambda: call_ids(installation) == names(*made), "a receipt of each call")
    second = installation.told("once")
    assert (second["verdicts"], second["reposted"], second["closed"]) == ({"matched": 20}, 0, 5)
    assert findings(installation, still_open=True) == []
    # The callbacks come all the same, a day late.
    installation.called(lost)
    installation.consuming.all_committed()
    assert call_ids(installation) == names(*made)
    assert installation.consuming.tables.conflicts() == []
    marks = {
        row["litellm_call_id"]: row["marks"] for row in installation.consuming.tables.receipts()
    }
    assert {name for name, all_ in marks.items() if "reconciler" in all_} == set(names(*lost))
    told = installation.told("audit", *period())
    assert told["balanced"]
    assert told["lines"][0]["calls"] == 20
    assert told["lines"][0]["difference_usd"] == "0"


def test_a_run_that_has_ended_is_looked_for_at_once(installation: Reconciling) -> None:
    now = datetime.now(UTC)
    fields = {"end_user": "run-x/2", "metadata": {"user_api_key_team_id": "team-1"}}
    made = [{**call(n, now - timedelta(seconds=2)), **fields} for n in range(3)]
    other = call(9, now - timedelta(seconds=2))
    installation.called(made[:1], [*made[1:], other])
    installation.consuming.all_committed()
    found = installation.told("run-completed", "run-x/2", RECONCILER_GRACE_S="900")
    assert (found["rows"], found["reposted"], found["receipts"]) == (3, 2, 3)
    assert found["latency_seconds"] > 0
    assert call_ids(installation) == names(*made)
    assert {
        (row["run_id"], row["attempt"]) for row in installation.consuming.tables.receipts()
    } == {("run-x", 2)}
    code, _, said = installation.command("run-completed", "run-y/0", "--seconds", "0")
    assert code == 1, said
    assert installation.command("run-completed", "run-x")[0] == 2


def test_a_reconciler_that_is_killed_within_a_window_goes_on_and_each_call_has_one_receipt(
    installation: Reconciling,
) -> None:
    made = list(calls(300, timedelta(minutes=50)))
    installation.called(made[:100], made[100:])
    installation.consuming.all_committed()
    # Three pages are answered, and the fourth never.
    installation.log.faults.extend([Fault(), Fault(), Fault(), Fault(silent=True)])
    pages = {"RECONCILER_PAGE_ROWS": "60", "RECONCILER_WINDOW_S": "86400"}
    first = installation.start(**pages)
    eventually(lambda: not installation.log.faults, "the first one to wait for a page")
    assert_before(cursor(installation), made[100])
    first.end(signal.SIGKILL)
    posted = len(call_ids(installation))
    assert posted < 300
    installation.start(**pages)
    eventually(lambda: call_ids(installation) == names(*made), "a receipt of each call")
    eventually(lambda: findings(installation, still_open=True) == [], "no finding to be open")
    assert len(findings(installation, still_open=False)) == 200
    assert cursor(installation) > moment(made[-1])
    assert installation.told("audit", *period())["balanced"]
    installation.consuming.every_receipt_is_published_once(300)


def cursor(installation: Reconciling) -> datetime:
    """Up to when the spend log is compared; the beginning of time where it never was."""
    with psycopg.connect(installation.consuming.database_url) as connection:
        row = connection.execute("SELECT reconciled_until FROM billing.reconciler_cursors")
        found = row.fetchone()
    return found[0] if found else datetime.min.replace(tzinfo=UTC)


def moment(made: dict[str, Any]) -> datetime:
    """When a call began."""
    return datetime.fromtimestamp(made["startTime"], UTC)


def assert_before(until: datetime, made: dict[str, Any]) -> None:
    """A lost call that nobody has taken yet lies behind the cursor."""
    assert until <= moment(made)


def test_of_two_instances_one_is_active_and_the_other_takes_over(installation: Reconciling) -> None:
    made = list(calls(4, HOUR))
    installation.called([], made[:2])
    one = installation.start()
    eventually(lambda: one.said("compared"), "the first one to compare")
    two = installation.start()
    standby = "another instance is the active one: standing by"
    eventually(lambda: two.said(standby), "the second one to stand by")
    assert (one.counted("billing_reconciler_active"), two.probe("/readyz")) == (1, 200)
    assert two.counted("billing_reconciler_active") == 0
    assert not two.said("compared")
    code, _, said = installation.command("once")
    assert (code, "another instance is active" in said) == (1, True)
    one.end(signal.SIGKILL)
    installation.called([], made[2:])
    eventually(lambda: two.said("compared"), "the second one to take over")
    eventually(lambda: call_ids(installation) == names(*made), "a receipt of each call")
    assert two.end() == 0


def test_while_the_gateway_is_away_the_cursor_stands_still_and_then_all_is_caught_up(
    consuming: Consuming,
) -> None:
    with closing(Reconciling(consuming)) as installation:
        consuming.member()
        made = list(calls(50, HOUR))
        installation.called(made[:10], made[10:])
        consuming.all_committed()
        running = installation.start(RECONCILER_TRIES="2", RECONCILER_RETRY_MAX_MS="50")
        failed = "the pass failed and is made again"
        eventually(lambda: running.said(failed, 3), "three passes to fail")
        assert_before(cursor(installation), made[10])
        assert len(findings(installation, still_open=True)) == 40
        assert running.counted("billing_reconciler_failures_in_a_row") >= 3
        assert running.probe("/livez") == 200
        eventually(lambda: running.probe("/readyz") == 503, "it to name the gateway")
        installation.start_gateway()
        eventually(lambda: call_ids(installation) == names(*made), "a receipt of each call")
        eventually(lambda: cursor(installation) > moment(made[-1]), "the cursor to move")
        eventually(lambda: running.probe("/readyz") == 200, "it to be ready")
        assert running.counted("billing_reconciler_failures_in_a_row") == 0
        eventually(lambda: findings(installation, still_open=True) == [], "no finding to be open")
        latency = "external_billing_reconcile_latency_seconds_count"
        assert running.counted(latency) > 0


def test_a_call_that_another_source_was_charged_for_is_told_and_not_posted(
    installation: Reconciling,
) -> None:
    made = list(calls(3, HOUR))
    installation.table.accept(made)
    installation.consuming.send(*(json.dumps(one).encode() for one in made), source="litellm/eu")
    installation.consuming.all_committed()
    told = installation.told("once")
    assert (told["verdicts"], told["reposted"]) == ({"elsewhere": 3}, 0)
    assert {row["source_system"] for row in installation.consuming.tables.receipts()} == {
        "litellm/eu"
    }
    right = installation.told(
        "once", RECONCILER_SOURCE="eu", BILLING_INGEST_TOKENS=f"eu={'e' * 32}"
    )
    assert right["verdicts"] == {"matched": 3}
    assert installation.told("audit", *period(), code=1)["faults"] == 3


Calls = list[dict[str, Any]]


def mangled(made: Calls, dice: random.Random) -> tuple[Calls, Calls, Calls, Calls]:
    """What arrives of the callbacks, what arrives late, and whose were altered before or after."""
    sent, late, dearer, contradicted = Calls(), Calls(), Calls(), Calls()
    for one in made:
        altered = {**one, "response_cost": one["response_cost"] + 1}
        match dice.choice(("arrives", "arrives", "dropped", "late", "twice", "dearer", "denied")):
            case "arrives":
                sent.append(one)
            case "late":
                late.append(one)
            case "twice":
                sent += [one, one]
            case "dearer":
                sent.append(altered)
                dearer.append(one)
            case "denied":
                sent += [one, altered]
                contradicted.append(one)
    dice.shuffle(late)
    return sent, late, dearer, contradicted


def test_NOTHING_VANISHES_whatever_becomes_of_the_callbacks(installation: Reconciling) -> None:
    """Dropped, delayed, repeated and altered at random; afterwards the audit names the altered."""
    dice = random.Random(20_261_127)  # noqa: S311 - a seed makes calls, no secret
    installation.table.version = "1.109.1"  # Amounts of 16 digits, where callbacks have 17.
    made = list(calls(CALLS, HOUR))
    for one in made:
        one["response_cost"] = dice.random() / 100
    installation.table.accept(made)
    sent, late, dearer, contradicted = mangled(made, dice)
    installation.consuming.send(*(json.dumps(one).encode() for one in sent))
    installation.consuming.all_committed()
    installation.told("once")
    installation.consuming.all_committed()
    assert call_ids(installation) == names(*made)
    installation.consuming.send(*(json.dumps(one).encode() for one in late))
    installation.consuming.all_committed()
    assert call_ids(installation) == names(*made)
    assert len(installation.consuming.tables.conflicts()) == len(contradicted)
    again = installation.told("once")
    assert again["reposted"] == 0
    assert findings(installation, still_open=True) == sorted(
        f"differs {one['litellm_call_id']}" for one in dearer
    )
    told = installation.told("audit", *period(), code=1)
    by_what: dict[str, list[str]] = {}
    for item in told["calls"]:
        by_what.setdefault(item["what"], []).append(item["litellm_call_id"])
    assert sorted(by_what.pop("receipts of another amount")) == names(*dearer)
    assert sorted(by_what.pop("receipt, contradicted by another callback")) == names(*contradicted)
    assert by_what == {}
    lines = {line["what"]: line for line in told["lines"]}
    assert lines["LiteLLM log rows"]["calls"] == CALLS
    assert lines["receipts"]["calls"] == CALLS - len(dearer)
    dearer_by = Decimal(lines["receipts of another amount"]["difference_usd"])
    assert abs(dearer_by + len(dearer)) < Decimal("1e-12")


def test_a_call_that_a_person_has_looked_at_is_no_fault_of_the_audit(
    installation: Reconciling,
) -> None:
    [one] = calls(1, HOUR)
    installation.called([one])
    installation.consuming.all_committed()
    [row] = installation.told("once")["verdicts"]
    assert row == "matched"
    installation.table.drop(one["id"])
    installation.table.accept([{**one, "response_cost": 1.5}])
    assert installation.told("once")["verdicts"] == {"differs": 1}
    assert not installation.told("audit", *period(), code=1)["balanced"]
    name = one["litellm_call_id"]
    done = by_hand(installation, "findings", "close", name, "--note", "credited", "--by", "ada")
    assert done == f"closed {one['id']}, which was differs\n"
    assert installation.told("once")["verdicts"] == {"differs": 1}
    assert findings(installation, still_open=True) == []
    audit = installation.told("audit", *period())
    assert audit["balanced"]
    assert [item["litellm_call_id"] for item in audit["calls"]] == [name]
    listed = json.loads(by_hand(installation, "findings", "list", "--closed", "--json"))
    assert [(found["by"], found["note"]) for found in listed] == [("ada", "credited")]


IN_RUN = {"spend_logs_metadata": {"run_id": "run-7", "attempt": 2}}
SHAPES: dict[str, dict[str, Any]] = {
    "in a process: the body's user pays": {"end_user": "acme", "metadata": IN_RUN},
    "in a sandbox: the team of its key pays": {
        "end_user": None,
        "metadata": {**IN_RUN, "user_api_key_team_id": "acme"},
    },
    "behind a gateway: the user of its key pays": {
        "end_user": None,
        "metadata": {**IN_RUN, "user_api_key_user_id": "acme"},
    },
    "in a server of agents: the account of the run pays": {
        "end_user": "run-7/2",
        "metadata": {"user_api_key_team_id": "platform"},
    },
}


def test_ONE_BILLING_PATH_whoever_makes_the_calls_of_a_run_and_whichever_report_comes_first(
    installation: Reconciling,
) -> None:
    """A call of each shape whose callback comes first, and one that the reconciler finds."""
    unit = {
        "unit_id": "0190c0de-0000-7000-8000-000000000003",
        "run_id": "run-7",
        "attempt": 2,
        "billing_account_id": "acme",
        "executor": "tests",
        "finished_at": datetime.now(UTC).isoformat(),
    }
    answer = installation.gateway.post(json.dumps(unit).encode(), "/v1/usage-units")
    assert answer.is_success, answer.text
    eventually(installation.consuming.tables.usage_units, "the unit")
    began = datetime.now(UTC) - timedelta(minutes=5)
    arrived = [{**call(n, began), **shape} for n, shape in enumerate(SHAPES.values())]
    lost = [{**call(n + 10, began), **shape} for n, shape in enumerate(SHAPES.values())]
    installation.called(arrived, lost)
    installation.consuming.all_committed()
    assert installation.told("once")["reposted"] == len(SHAPES)
    everyone = names(*arrived, *lost)
    eventually(lambda: call_ids(installation) == everyone, "a receipt of each call")
    # The other report comes as well.
    installation.called(lost)
    installation.consuming.all_committed()
    again = installation.told("once")
    assert (again["reposted"], again["verdicts"]) == (0, {"matched": len(everyone)})
    assert again["unmatched_units"] == []
    assert call_ids(installation) == everyone
    assert installation.consuming.tables.conflicts() == []
    said = ("billing_account_id", "run_id", "attempt", "response_cost_usd")
    rows = installation.consuming.tables.receipts()
    assert {tuple(row[name] for name in said) for row in rows} == {
        ("acme", "run-7", 2, Decimal("0.00033"))
    }
    assert sum("account_of_run" in row["marks"] for row in rows) == 2


def test_what_has_no_row_and_what_nothing_explains_is_told(installation: Reconciling) -> None:
    made = list(calls(6, HOUR))
    free = {**made[5], "response_cost": 0, "status": "failure", "error_str": "refused"}
    installation.called([*made[:4], free], [])
    installation.table.drop(made[3]["id"])
    unit = {
        "unit_id": "0190c0de-0000-7000-8000-000000000001",
        "run_id": "run-1",
        "executor": "tests",
        "litellm_call_id": "nobody-knows",
        "finished_at": (datetime.now(UTC) - timedelta(minutes=5)).isoformat(),
    }
    explained = {
        **unit,
        "unit_id": "0190c0de-0000-7000-8000-000000000002",
        "litellm_call_id": free["litellm_call_id"],
    }
    for one in (unit, explained):
        answer = installation.gateway.post(json.dumps(one).encode(), "/v1/usage-units")
        assert answer.is_success, answer.text
    eventually(lambda: len(installation.consuming.tables.usage_units()) == 2, "both units")
    installation.consuming.all_committed()
    assert [one["unit_id"] for one in installation.told("once")["unmatched_units"]] == [
        unit["unit_id"]
    ]
    told = installation.told("audit", *period())
    assert told["balanced"]
    assert {(one["what"], one["litellm_call_id"]) for one in told["calls"]} == {
        ("receipt without a row", made[3]["litellm_call_id"]),
        ("usage unit without receipt, deferral or row", "nobody-knows"),
    }
    lines = {line["what"]: line["calls"] for line in told["lines"]}
    assert (lines["receipts"], lines["skipped"], lines["receipts without a row"]) == (3, 1, 1)
    code, out, _ = installation.command("audit", *period(), "--csv")
    assert (code, out.splitlines()[0]) == (
        0,
        "what,calls,known,log_usd,receipts_usd,difference_usd",
    )
    code, out, _ = installation.command("audit", *period())
    assert (code, "it balances" in out, "judged" in out) == (0, True, True)


def test_a_deferred_call_gets_its_receipt_from_the_spend_log_unless_a_person_has_waived_it(
    installation: Reconciling,
) -> None:
    made = list(calls(4, HOUR))
    waived, *open_ = made
    installation.table.accept(made)
    consuming = installation.consuming
    consuming.send(*(json.dumps({**one, "response_cost": 0}).encode() for one in made))
    consuming.all_committed()
    by_hand(installation, "deferred", "waive", waived["litellm_call_id"], "--note", "ours")
    told = installation.told("audit", *period())
    assert {line["what"]: line["calls"] for line in told["lines"]}["deferred"] == 4
    first = installation.told("once")
    assert (first["verdicts"], first["reposted"]) == ({"deferred": 1, "priced": 3}, 3)
    assert first["missing_usd"] == "0"
    eventually(lambda: call_ids(installation) == names(*open_), "a receipt of each open call")
    receipts = {row["litellm_call_id"]: row for row in consuming.tables.receipts()}
    for one in open_:
        receipt = receipts[one["litellm_call_id"]]
        assert receipt["cost_source"] == "litellm_spend_log"
        assert Decimal(receipt["cost_text"]) == Decimal(str(one["response_cost"]))
    second = installation.told("once")
    assert (second["verdicts"], second["closed"]) == ({"deferred": 1, "matched": 3}, 3)
    assert findings(installation, still_open=True) == []
    resolved = {row["litellm_call_id"]: row["resolution"] for row in consuming.tables.deferred()}
    assert resolved == {
        **{one["litellm_call_id"]: "spend_log" for one in open_},
        waived["litellm_call_id"]: "waived",
    }
    assert consuming.tables.conflicts() == []


def test_a_finding_of_a_call_that_waits_for_its_cost_is_open_until_it_has_a_receipt(
    installation: Reconciling,
) -> None:
    made = call(0, datetime.now(UTC) - HOUR)
    installation.table.accept([made])
    installation.consuming.send(json.dumps({**made, "response_cost": 0}).encode())
    installation.consuming.all_committed()
    for member in installation.consuming.members:
        member.end()
    assert installation.told("once")["reposted"] == 1
    again = installation.told("once", RECONCILER_GRACE_S="900")
    assert (again["reposted"], again["closed"]) == (0, 0)
    assert findings(installation, still_open=True) == [f"priced {made['litellm_call_id']}"]
    installation.consuming.member()
    eventually(lambda: call_ids(installation) == names(made), "its receipt")
    assert installation.told("once")["closed"] == 1
    assert findings(installation, still_open=True) == []
