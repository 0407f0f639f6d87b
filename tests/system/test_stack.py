"""`make up`, `make down` and what lies between, on the embedded parts."""

import os
import re
import secrets
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import psutil
import psycopg
import pytest

from tests.clients import fetching
from tests.inputs.captures import body
from tests.waiting import NET_SECONDS, eventually

ROOT = Path(__file__).parents[2]
COMMAND_SECONDS = 180
CAPTURE = "real-nonstream.json"
OTHER_CAPTURE = "mock-claude.json"
SESSION_SECONDS = 15
"""The consumer's default session timeout."""
KEYS = [
    "GATEWAY_URL",
    "GATEWAY_METRICS_URL",
    "CONSUMER_METRICS_URL",
    "SPEND_GUARD_URL",
    "SPEND_GUARD_METRICS_URL",
    "SPEND_GUARD_TOKENS",
    "SPEND_GUARD_ADMIN_TOKENS",
    "BILLING_INGEST_TOKEN",
    "DATABASE_URL",
    "KAFKA_BOOTSTRAP_SERVERS",
]
MARK = "STACK_OWN"
"""Last in the file: by it, a later stack knows what nobody chose."""
GUARD = """
import os, subprocess, sys, time
while os.getppid() == int(sys.argv[1]):
    time.sleep(0.5)
subprocess.run(sys.argv[2:])
"""
ONE_SHELL = """
set -euo pipefail
demo() { "$PYTHON" -m demo "$1" --directory "$RUN"; }
demo up
set -a; . "$RUN/env"; set +a
demo up
demo down
demo up
printf '%s\\n' "$DATABASE_URL" "$KAFKA_BOOTSTRAP_SERVERS"
"""
GIVEN = ("KAFKA_", "DATABASE_URL", "BILLING_", "GATEWAY_", "CONSUMER_", "SPEND_GUARD_")
PARTS = {"supervisor", "postgres", "kafka", "consumer", "spend-guard", "gateway"}


class Stack:
    """A run directory and the commands that a person would type for it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def command(self, name: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return self.run(
            sys.executable, "-m", "demo", name, "--directory", str(self.directory), **settings
        )

    def run(self, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
        inherited = {key: text for key, text in os.environ.items() if not key.startswith(GIVEN)}
        return subprocess.run(
            command,
            cwd=ROOT,
            env={**inherited, **settings},
            capture_output=True,
            text=True,
            timeout=NET_SECONDS,
            check=False,
        )

    def up(self, **settings: str) -> "Stack":
        done = self.command("up", **settings)
        assert done.returncode == 0, done.stdout + done.stderr
        return self

    def environment(self) -> dict[str, str]:
        lines = (self.directory / "env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = msgspec.json.decode((self.directory / "state.json").read_bytes())
        return state

    def servers(self) -> dict[str, int]:
        """The process ids of what is meant to be running, by name, the supervisor's included."""
        state = self.state()
        rows = {row["name"]: row["pid"] for row in state["services"] if row["phase"] == "ready"}
        return {"supervisor": state["pid"], **rows}

    def ports(self) -> list[int]:
        environment = self.environment()
        urls = [environment[key] for key in KEYS if key.endswith("_URL")]
        kafka = environment["KAFKA_BOOTSTRAP_SERVERS"].rpartition(":")[2]
        return [int(kafka), *(urlsplit(url).port or 0 for url in urls)]


@contextmanager
def guarded(directory: Path) -> Iterator[Stack]:
    """A stack that is stopped in the end, even when this test run is killed."""
    down = [sys.executable, "-m", "demo", "down", "--directory", str(directory)]
    guard = subprocess.Popen(
        [sys.executable, "-S", "-c", GUARD, str(os.getpid()), *down],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    stack = Stack(directory)
    try:
        yield stack
    finally:
        stack.command("down")
        guard.kill()
        guard.wait()


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with guarded(tmp_path / "run") as stack:
        yield stack


@pytest.fixture
def neighbour(tmp_path: Path) -> Iterator[Stack]:
    with guarded(tmp_path / "neighbour") as stack:
        yield stack


def gone(pids: dict[str, int]) -> bool:
    """Whether none of the processes runs; one that only waits to be reaped does not."""

    def runs(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return not any(runs(pid) for pid in pids.values())


def free(port: int) -> bool:
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def receipts(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM billing.charge_receipts").fetchone()
    return int(row[0]) if row else 0


def post(environment: dict[str, str], capture: str = CAPTURE) -> dict[str, int]:
    """Send a captured callback; the counts of the answer."""
    answer = fetching.post(
        f"{environment['GATEWAY_URL']}/v1/callbacks/litellm",
        content=body(capture),
        headers={"Authorization": f"Bearer {environment['BILLING_INGEST_TOKEN']}"},
    )
    assert answer.status_code == 202, answer.text
    counts: dict[str, int] = answer.json()
    return counts


def grant(environment: dict[str, str], amount: int) -> None:
    """Grant the account `acme` credits, as a person who has the administrator's token."""
    answer = fetching.post(
        f"{environment['SPEND_GUARD_URL']}/v1/accounts/acme/entries",
        json={"reason": "grant", "person": "ada", "note": "order", "amount_credits": amount},
        headers={
            "Authorization": f"Bearer {environment['SPEND_GUARD_ADMIN_TOKENS']}",
            "Idempotency-Key": "order",
        },
    )
    assert answer.status_code == 201, answer.text


def hold(environment: dict[str, str], usd: str) -> int:
    """Ask the guard whether `acme` can afford a call; the status of its answer."""
    asked = {"account": "acme", "litellm_call_id": secrets.token_hex(8), "nonce": "n"}
    return fetching.post(
        f"{environment['SPEND_GUARD_URL']}/v1/holds",
        json={**asked, "amount_usd": usd},
        headers={"Authorization": f"Bearer {environment['SPEND_GUARD_TOKENS']}"},
    ).status_code


def account(environment: dict[str, str]) -> dict[str, Any]:
    """What the guard says of the account `acme`."""
    answer = fetching.get(
        f"{environment['SPEND_GUARD_URL']}/v1/accounts/acme",
        headers={"Authorization": f"Bearer {environment['SPEND_GUARD_TOKENS']}"},
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_up_starts_a_guard_with_the_settings_of_its_caller(stack: Stack) -> None:
    # The last one is of the proxy's plugin: a guard by itself refuses what it does not know.
    environment = stack.up(
        BILLING_MARKUP="2",
        BILLING_UNKNOWN_ACCOUNT="refuse",
        SPEND_GUARD_PLENTY_USD="0.0000001",
        SPEND_GUARD_FAIL="closed",
    ).environment()
    ready = fetching.get(f"{environment['SPEND_GUARD_METRICS_URL']}/readyz")
    assert ready.status_code == 200, ready.text
    six, four = "0.0000003", "0.0000002"
    assert hold(environment, four) == 402
    grant(environment, 10)
    assert [hold(environment, usd) for usd in (six, six, four)] == [200, 402, 200]
    assert account(environment)["held"] == 10


def test_up_bills_a_callback_and_down_leaves_nothing(stack: Stack) -> None:
    stack.up()
    environment = stack.environment()
    assert list(environment) == [*KEYS, MARK]
    assert stat.S_IMODE(stack.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((stack.directory / "env").stat().st_mode) == 0o600

    servers, ports = stack.servers(), stack.ports()
    assert set(servers) == PARTS
    told = stack.command("status")
    assert told.returncode == 0, told.stdout
    assert str(servers["gateway"]) in told.stdout
    assert environment["GATEWAY_URL"] in told.stdout
    for name in ("BILLING_INGEST_TOKEN", "SPEND_GUARD_TOKENS", "SPEND_GUARD_ADMIN_TOKENS"):
        assert environment[name] not in told.stdout

    assert post(environment)["accepted"] == 1
    eventually(lambda: receipts(environment["DATABASE_URL"]) == 1, "the receipt")

    again = stack.command("up")
    assert again.returncode == 0
    assert "already running" in again.stdout
    assert stack.servers() == servers

    down = stack.command("down")
    assert down.returncode == 0, down.stderr
    stopped = [
        line.split()[0] for line in down.stdout.splitlines() if line.split()[1:2] == ["stopped"]
    ]
    assert stopped == ["gateway", "spend-guard", "consumer", "kafka", "postgres"]
    assert gone(servers)
    assert all(free(port) for port in ports)
    assert not (stack.directory / "env").exists()
    assert not (stack.directory / "data").exists()
    assert not (stack.directory / "spool").exists()

    nothing = stack.command("down")
    assert nothing.returncode == 0
    assert "nothing runs" in nothing.stdout
    assert stack.command("status").returncode == 1


def test_a_shell_that_holds_the_addresses_of_a_stack_starts_one_on_its_own_parts(
    stack: Stack,
) -> None:
    done = stack.run("bash", "-c", ONE_SHELL, PYTHON=sys.executable, RUN=str(stack.directory))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not taken from the environment: BILLING_INGEST_TOKEN, DATABASE_URL" in done.stdout
    assert "KAFKA_BOOTSTRAP_SERVERS, SPEND_GUARD_ADMIN_TOKENS, SPEND_GUARD_TOKENS" in done.stdout
    held = done.stdout.splitlines()[-2:]

    assert set(stack.servers()) == PARTS
    environment = stack.environment()
    assert environment["DATABASE_URL"] != held[0]
    assert environment["KAFKA_BOOTSTRAP_SERVERS"] != held[1]
    assert post(environment)["accepted"] == 1
    eventually(lambda: receipts(environment["DATABASE_URL"]) == 1, "the receipt")


def test_what_is_killed_is_replaced_within_the_session_timeout_and_told(stack: Stack) -> None:
    servers = stack.up().servers()
    environment = stack.environment()
    post(environment)
    eventually(lambda: receipts(environment["DATABASE_URL"]) == 1, "the first receipt")
    killed = ("gateway", "consumer", "spend-guard", "postgres")
    for name in killed:
        os.kill(servers[name], signal.SIGKILL)

    def replaced() -> bool:
        now = stack.servers()
        return stack.state()["phase"] == "ready" and all(
            now.get(name, servers[name]) != servers[name] for name in killed
        )

    eventually(replaced, "the supervisor to replace what was killed", SESSION_SECONDS)
    assert stack.environment() == environment
    post(environment, OTHER_CAPTURE)
    eventually(
        lambda: receipts(environment["DATABASE_URL"]) == 2, "the second receipt", SESSION_SECONDS
    )
    told = stack.command("status")
    assert told.returncode == 0, told.stdout
    assert len(re.findall(r"restarted \d+ times", told.stdout)) == len(killed)
    assert "consumer last ended with exit code -9" in told.stdout
    assert "consumer ended with exit code -9 (SIGKILL)" in (
        stack.directory / "logs" / "supervisor.log"
    ).read_text("utf-8")


def test_what_ends_by_itself_is_told_and_up_begins_it_again_with_the_ledger_as_it_is(
    stack: Stack,
) -> None:
    servers = stack.up().servers()
    environment = stack.environment()
    post(environment)
    eventually(lambda: receipts(environment["DATABASE_URL"]) == 1, "the receipt")
    os.kill(servers["gateway"], signal.SIGTERM)
    eventually(lambda: stack.state()["phase"] == "degraded", "the supervisor to notice", 30)
    told = stack.command("status")
    assert told.returncode == 1
    assert "gateway ended with exit code 0" in told.stdout
    assert stack.command("up").returncode == 0
    assert stack.command("status").returncode == 0
    assert receipts(environment["DATABASE_URL"]) == 1
    assert post(environment)["accepted"] == 1

    servers = stack.servers()
    os.kill(servers["supervisor"], signal.SIGKILL)
    eventually(lambda: gone(servers), "every process to follow its supervisor", 30)
    assert stack.command("status").returncode == 1
    again = stack.command("up")
    assert again.returncode == 0, again.stderr
    assert "deleting the embedded ledger" in again.stdout
    assert set(stack.servers()) == set(servers)


def test_what_was_taken_without_a_broker_is_billed_after_the_next_up(stack: Stack) -> None:
    servers = stack.up().servers()
    os.kill(servers["kafka"], signal.SIGKILL)
    eventually(lambda: stack.state()["phase"] == "degraded", "the supervisor to notice", 30)
    assert post(stack.environment()) == {"accepted": 1, "parked": 0, "spooled": 1}
    again = stack.command("up")
    assert again.returncode == 1
    assert "kafka ended with exit code -9" in again.stderr
    assert "`make down` stops it and deletes its embedded ledger with every receipt" in again.stderr

    kept = "kept: 1 record(s), "
    down = stack.command("down")
    assert down.returncode == 0, down.stderr
    assert kept in down.stdout
    assert str(stack.directory / "spool") in down.stdout
    assert not (stack.directory / "data").exists()
    assert kept in stack.command("down").stdout

    database = stack.up().environment()["DATABASE_URL"]
    eventually(lambda: receipts(database) == 1, "the receipt")
    down = stack.command("down")
    assert "kept" not in down.stdout.replace("logs kept", "")
    assert not (stack.directory / "spool").exists()


def test_a_wrong_token_fails_and_stops_everything(stack: Stack) -> None:
    done = stack.command("up", BILLING_INGEST_TOKEN="too-short")  # noqa: S106 - refused

    assert done.returncode == 1
    assert "gateway ended with exit code 2" in done.stderr
    assert "32" in done.stderr
    assert gone({row["name"]: row["pid"] for row in stack.state()["services"] if row["pid"]})
    assert not (stack.directory / "env").exists()
    assert stack.command("status").returncode == 1


def test_a_wrong_port_is_wrong_usage(stack: Stack) -> None:
    done = stack.command("up", GATEWAY_PORT="eighty")

    assert done.returncode == 2
    assert "GATEWAY_PORT" in done.stderr
    assert not stack.directory.exists()


def test_given_parts_replace_the_embedded_ones(stack: Stack, neighbour: Stack) -> None:
    given = stack.up().environment()
    parts = {key: given[key] for key in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS")}
    asked, guard = [port for port in range(19_000, 20_000) if free(port)][:2]
    neighbour.up(
        **parts,
        GATEWAY_PORT=str(asked),
        SPEND_GUARD_PORT=str(guard),
        BILLING_TOPIC_PREFIX="neighbour.",
        CONSUMER_GROUP="neighbour",
    )

    assert set(neighbour.servers()) == {"supervisor", "consumer", "spend-guard", "gateway"}
    assert {key: neighbour.environment()[key] for key in parts} == parts
    assert neighbour.environment()["GATEWAY_URL"] == f"http://127.0.0.1:{asked}"
    assert neighbour.environment()["SPEND_GUARD_URL"] == f"http://127.0.0.1:{guard}"
    grant(neighbour.environment(), 7)
    assert account(stack.environment()) == account(neighbour.environment())

    servers = stack.servers()
    assert neighbour.command("down").returncode == 0
    assert stack.command("status").returncode == 0
    assert stack.servers() == servers
    assert receipts(given["DATABASE_URL"]) == 0
