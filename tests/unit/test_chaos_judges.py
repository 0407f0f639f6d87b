"""What the faults are judged by: ends that nobody brought about, rules in a hurry, the matrix."""

import os
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.chaos.faults import FAULTS
from tests.chaos.matrix import Run, joined, matrix
from tests.chaos.process import Process
from tests.chaos.rounds import ALARMING, Audit, Tally
from tests.chaos.test_chaos import A_RUN, schedule
from tests.chaos.watchman import in_seconds
from tests.databases.former_schema import UNDO
from tests.processes.prometheus import RULES
from tests.waiting import eventually

MIGRATIONS = Path(__file__).parents[2] / "ledger" / "migrations" / "sql"


def process(directory: Path, program: str) -> Process:
    """A consumer that is this program, and runs."""
    made = Process(
        "consumer",
        "consumer-0",
        [sys.executable, "-c", program],
        directory / "log",
        env=dict(os.environ),
        cwd=directory,
        metrics_port=0,
    )
    made.start()
    return made


def ended(made: Process) -> bool:
    """Whether it has ended, which nobody has noticed yet."""
    try:
        made.check()
    except RuntimeError:
        return True
    return False


def test_a_process_that_ends_by_itself_is_an_exit_however_it_is_cleared_away(
    tmp_path: Path,
) -> None:
    for clear in (Process.kill, Process.stop):
        made = process(tmp_path, "print('a defect'); raise SystemExit(3)")
        eventually(lambda: ended(made), "its end")  # noqa: B023 - asked at once
        clear(made)
        assert [(exit_.room, exit_.code) for exit_ in made.exits] == [("consumer", 3)]
        assert "a defect" in made.exits[0].log


def test_a_process_that_is_ended_is_no_exit(tmp_path: Path) -> None:
    made = process(tmp_path, "import time; time.sleep(600)")
    made.kill()
    made.start()
    made.stop()
    assert made.exits == []


def test_a_process_that_fails_when_it_is_asked_to_end_is_an_exit(tmp_path: Path) -> None:
    made = process(
        tmp_path,
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(1));"
        "print('ready', flush=True); time.sleep(600)",
    )
    eventually(lambda: "ready" in made.log.read_text(), "it to listen")
    made.stop()
    assert [exit_.code for exit_ in made.exits] == [1]


def rules(text: str) -> list[dict[str, Any]]:
    """Every rule of a file."""
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def test_rules_in_a_hurry_are_the_projects_with_seconds_for_minutes() -> None:
    usual, hurried = rules(RULES.read_text()), rules(in_seconds(RULES.read_text()))
    assert [rule["alert"] for rule in hurried] == [rule["alert"] for rule in usual]
    assert {rule["for"] for rule in hurried if "for" in rule} == {
        rule["for"].replace("m", "s") for rule in usual if "for" in rule
    }
    late = next(rule for rule in hurried if rule["alert"] == "BillingRecordsWaitLong")
    assert late["expr"].endswith("> 5")
    assert "[10m]" not in in_seconds(RULES.read_text())


def test_every_alert_that_a_fault_waits_for_exists() -> None:
    known = {rule["alert"] for rule in rules(RULES.read_text())}
    assert known >= ALARMING
    for name, fault in FAULTS.items():
        assert fault.alerts <= known, name


def test_a_schedule_is_the_list_of_a_run_or_every_fault_as_often_as_every_other() -> None:
    assert schedule(1, 0) == list(A_RUN)
    assert set(A_RUN) <= set(FAULTS)
    drawn = schedule(1, 2 * len(FAULTS))
    assert sorted(drawn) == sorted([*FAULTS, *FAULTS])
    assert drawn == schedule(1, 2 * len(FAULTS))
    assert drawn != schedule(2, 2 * len(FAULTS))


def test_an_upgrade_takes_back_every_migration_since_the_last_release() -> None:
    known = sorted(path.name[:4] for path in MIGRATIONS.glob("0*.sql"))
    assert sorted(UNDO) == known[known.index(min(UNDO)) :], "say in UNDO what takes it back"


def test_an_audit_with_an_exit_or_a_secret_is_not_clean(tmp_path: Path) -> None:
    assert Audit([], [], [], 0).clean
    assert not Audit([], [], [], 0, untold=["no BillingLedgerBehind"]).clean
    made = process(tmp_path, "raise SystemExit(1)")
    eventually(lambda: ended(made), "its end")
    made.kill()
    assert not Audit([], [], [], 0, exits=made.exits).clean


def test_runs_are_joined_and_the_matrix_names_what_told_of_a_fault() -> None:
    told = {"BillingConsumerRetries": 2, "BillingLedgerBehind": 1, "BillingConsumerParks": 2}
    runs = [
        Run(1, {"a fault": Tally(2, 10, exits=1, told=told, recovery=[1.0, 3.0])}),
        Run(2, {"a fault": Tally(2, 20, untold=1, told=told, recovery=[2.0, 2.0])}),
    ]
    table = matrix(joined(runs), [1, 2]).splitlines()
    cells = [cell.strip() for cell in table[4].strip("|").split("|")]
    assert cells[:8] == ["a fault", "4", "30", "0", "0", "0", "1", "1"]
    assert cells[8] == "2.0 s"
    assert cells[10] == "`BillingConsumerRetries`, `BillingLedgerBehind`"
    assert {line.count("|") for line in table[2:]} == {12}
