"""The command line: help that teaches, codes that mean something, messages that say what to do."""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from consumer.commands import app as consumer
from consumer.former import BY_HAND
from operator_cli.__main__ import app as by_hand
from tests.waiting import NET_SECONDS

DEADLINE_SECONDS = 60
COMMANDS = ("run", *BY_HAND)
SECRET = "hunter2-hunter2"  # noqa: S105 - it is what must not be shown


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of ours from whoever runs the tests."""
    for name in os.environ:
        if name.startswith(("BILLING_", "CONSUMER_", "KAFKA_", "DATABASE_")):
            monkeypatch.delenv(name)


def run(*arguments: str, **environment: str) -> tuple[int, str]:
    """Run a command in this process; its exit code and all it said."""
    app = by_hand if arguments[0] in BY_HAND else consumer
    done = CliRunner().invoke(app, arguments, env=environment)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_help_names_every_command_and_the_exit_codes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "consumer", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=NET_SECONDS,
    )
    said = done.stdout
    assert all(command in said for command in COMMANDS)
    assert "Exit codes: 0 fine, 1" in " ".join(said.replace("│", " ").split())


def test_an_older_name_is_passed_on_before_the_consumer_is_imported() -> None:
    heavy = "{'typer', 'psycopg', 'confluent_kafka'}"
    said = f"import sys, consumer.__main__; print({heavy} & {{*sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", said],
        capture_output=True,
        text=True,
        check=True,
        timeout=NET_SECONDS,
    )
    assert done.stdout.strip() == "set()"
    done = subprocess.run(
        [sys.executable, "-m", "consumer", "migrate", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=NET_SECONDS,
    )
    assert "Usage: billing migrate" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    code, said = run(command, "--help")
    assert code == 0
    assert len(said.split()) > 20


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["no-such"], "no-such"),
        (["run", "--no-such"], "--no-such"),
        (["report", "--table", "no-such"], "there are receipts, runs"),
        (["report", "--limit", "0"], "--limit"),
        (["topics", "--replication-factor", "x"], "--replication-factor"),
    ],
)
def test_wrong_usage_is_2_and_says_what_is_wrong(arguments: list[str], named: str) -> None:
    code, said = run(*arguments, DATABASE_URL="postgresql://127.0.0.1:1/x")
    assert code == 2
    assert named in said


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        ("run", "KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL"),
        ("migrate", "DATABASE_URL"),
        ("report", "DATABASE_URL"),
        ("topics", "KAFKA_BOOTSTRAP_SERVERS"),
    ],
)
def test_what_a_command_cannot_do_without_is_named(command: str, missing: str) -> None:
    code, said = run(command)
    assert code == 2
    assert f"{missing} must be set" in said
    if command != "run":
        for name in missing.split(" and "):
            assert f"\n  export {name}=" in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BILLING_MARKUP", "-1"),
        ("BILLING_MARKPU", "2"),
        ("BILLING_ACCOUNT_FROM", "nobody"),
        ("CONSUMER_METRICS_PORT", "99999"),
        ("DATABASE_URL", f"mysql://u:{SECRET}@h/d"),
    ],
)
def test_a_wrong_configuration_is_2_and_names_the_variable(name: str, value: str) -> None:
    code, said = run("run", **{name: value})
    assert code == 2
    assert name in said
    assert "docs/configuration.md" in said
    assert SECRET not in said


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{SECRET}@127.0.0.1:port/d",
        f"postgresql://u:{SECRET}@127.0.0.1/d?no_such=1",
        f"postgresql://u:{SECRET}@127.0.0.1:1/d",
    ],
)
@pytest.mark.parametrize("command", ["migrate", "report", "run"])
def test_a_database_that_cannot_be_reached_is_1_and_says_where_to_look(
    command: str, url: str
) -> None:
    code, said = run(command, DATABASE_URL=url, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert code == 1
    assert "DATABASE_URL" in said
    assert SECRET not in said
