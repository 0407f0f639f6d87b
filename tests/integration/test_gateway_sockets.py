"""A gateway process and sockets that mean no good; no broker is needed, it has a spool."""

import contextlib
import os
import resource
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.clients.wire import converse
from tests.inputs import captures
from tests.inputs.callbacks import element
from tests.processes import room
from tests.processes.gateway import CALLBACKS_PATH, TOKEN, Gateway
from tests.processes.process import free_port
from tests.waiting import NET_SECONDS, eventually

SOFT, HARD = 100, 256
IDLE = 300
ITS_CLIENTS = 32
"""Descriptors that the gateway's own Kafka client may open and close."""
MEGABYTE = 1_000_000
ONE = captures.array([element(id="one")])
START = f"POST {CALLBACKS_PATH} HTTP/1.1\r\n".encode()
HEAD = START + b"Authorization: Bearer " + TOKEN.encode() + b"\r\n"
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(ONE) + ONE
OTHER = "o" * 32
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the gateway's token."""
    file = tmp_path_factory.mktemp("tokens") / "token"
    file.write_text(TOKEN)
    return file


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, token_file: Path) -> Iterator[Gateway]:
    """A gateway with few descriptors, whose token stands in a file."""
    directory = tmp_path_factory.mktemp("sockets")
    process = Gateway(
        f"127.0.0.1:{free_port()}",
        "",
        directory,
        GATEWAY_SPOOL_DIR=str(directory / "spool"),
        BILLING_INGEST_TOKEN="",
        BILLING_INGEST_TOKEN_FILE=str(token_file),
        GATEWAY_HEAD_TIMEOUT_S="3",
    )
    process.limit_descriptors(SOFT, HARD)
    with process.running():
        yield process


@contextlib.contextmanager
def connected(port: int, count: int) -> Iterator[list[socket.socket]]:
    """So many connections that say nothing."""
    with contextlib.ExitStack() as stack:
        address = ("127.0.0.1", port)
        yield [
            stack.enter_context(socket.create_connection(address, NET_SECONDS))
            for _ in range(count)
        ]


def test_idle_sockets_leave_probes_and_callers_alone(gateway: Gateway) -> None:
    """Issue 12: 300 of them at 256 descriptors silenced every port, without a word."""
    with connected(gateway.port, IDLE), connected(gateway.metrics_port, IDLE):
        assert gateway.probe("/livez") == 200
        assert gateway.probe("/readyz") == 200
        assert gateway.metric("process_max_fds") == HARD
        assert gateway.post(ONE).status_code == 202
        room = gateway.metric("billing_gateway_max_connections", port="callbacks")
        assert gateway.metric("billing_gateway_open_connections", port="callbacks") <= room < HARD
        name = "billing_gateway_closed_connections_total"
        assert gateway.metric(name, port="callbacks", reason="no_room") > 0


def descriptors(process: psutil.Process) -> set[int]:
    """The numbers of the descriptors that a process keeps; its client comes and goes with some."""
    looks = [
        {int(file.name) for file in Path(f"/proc/{process.pid}/fd").iterdir()} for _ in range(20)
    ]
    return set.intersection(*looks)


def test_without_descriptors_the_probes_answer_and_the_log_says_why(gateway: Gateway) -> None:
    # Connections that are about to end would leave room for others.
    name = "billing_gateway_open_connections"
    eventually(
        lambda: max(gateway.metric(name, port=port) for port in ("callbacks", "probes")) <= 1,
        "the end of those that left",
        30,
    )
    process = psutil.Process(gateway.server.pid)
    # A file that was opened beside many sockets has a high number, and below it there is room. Its
    # Kafka client comes and goes with some, and would take those of the reserve.
    kept = descriptors(process)
    limit = [number for number in range(HARD) if number not in kept][ITS_CLIENTS]
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (limit, HARD))
    try:
        with connected(gateway.port, HARD):
            name = "billing_gateway_descriptors_exhausted_total"
            eventually(lambda: gateway.metric(name, port="callbacks") > 0, "a refusal", 30)
            assert gateway.probe("/livez") == 200
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (HARD, HARD))
    assert "descriptors_exhausted" in gateway.server.log.read_text()
    assert gateway.post(ONE).status_code == 202


def test_a_head_without_an_end_is_refused_and_takes_no_memory(gateway: Gateway) -> None:
    """Issue 12: 400 MB of header lines on one socket took as much."""
    process = psutil.Process(gateway.server.pid)
    before = process.memory_info().rss
    with contextlib.suppress(OSError), connected(gateway.port, 1) as (line,):
        line.sendall(START)
        for _ in range(400):
            line.sendall(b"x-line: some value\r\n" * (MEGABYTE // 20))
    assert process.memory_info().rss - before < 20 * MEGABYTE
    said = converse(gateway.port, START + b"a: b\r\n" * 20_000, 1, ends=False, seconds=30)
    assert [answer.status for answer in said.answers] == [431]
    refused = "billing_gateway_refused_requests_total"
    reason = {"source": "unknown", "status": "431", "reason": "head_too_large"}
    assert gateway.metric(refused, **reason) >= 1


def test_what_does_not_complete_is_answered_and_ended(gateway: Gateway) -> None:
    begun = (b"", START, HEAD + b"x", HEAD + b"Content-Length: 1000000\r\n\r\n[")
    with ThreadPoolExecutor(len(begun)) as pool:
        talks = pool.map(
            lambda sent: converse(gateway.port, sent, 2, ends=False, seconds=60), begun
        )
        said = list(talks)
    assert [[answer.status for answer in one.answers] for one in said] == [[], [408], [408], [408]]
    assert all(one.closed for one in said)


def test_garbage_behind_a_request_that_was_stored_comes_after_its_202(gateway: Gateway) -> None:
    said = converse(
        gateway.port, WHOLE + b"\x16\x03\x01 no HTTP\r\n\r\n", 2, ends=False, seconds=30
    )
    assert [answer.status for answer in said.answers] == [202, 400]


def test_sighup_reads_the_tokens_again_and_keeps_the_old_ones_where_it_cannot(
    gateway: Gateway, token_file: Path
) -> None:
    name = "billing_gateway_token_reloads_total"

    def reread(outcome: str) -> None:
        before = gateway.metric(name, outcome=outcome)
        os.kill(gateway.server.pid, signal.SIGHUP)
        eventually(lambda: gateway.metric(name, outcome=outcome) > before, "the reading", 30)

    def status(token: str) -> int:
        return gateway.post(ONE, headers={"authorization": f"Bearer {token}"}).status_code

    try:
        token_file.write_text("short")
        reread("refused")
        assert (status(TOKEN), status(OTHER)) == (202, 401)
        token_file.unlink()
        reread("refused")
        token_file.write_text(OTHER)
        reread("read")
        assert (status(TOKEN), status(OTHER)) == (401, 202)
    finally:
        token_file.write_text(TOKEN)
        reread("read")
    assert status(TOKEN) == 202
    said = gateway.server.log.read_text()
    assert "short" not in said.replace("shorter", "")
    assert OTHER not in said


def test_a_damaged_spool_stops_nothing_and_a_command_brings_it_back(tmp_path: Path) -> None:
    spool, kafka = tmp_path / "spool", f"127.0.0.1:{free_port()}"
    process = Gateway(kafka, "", tmp_path, GATEWAY_SPOOL_DIR=str(spool))
    with process.running():
        assert process.post(ONE).json()["spooled"] == 1
    file = spool / "spool.sqlite3"
    content = bytearray(file.read_bytes())
    content[2] ^= 1
    file.write_bytes(content)
    process = Gateway(kafka, "", tmp_path, GATEWAY_SPOOL_DIR=str(spool))
    with process.running():
        assert process.metric("billing_gateway_spool_damaged_files") == 1
        assert process.metric("billing_gateway_spool_records") == 0
        assert process.post(ONE).json()["spooled"] == 1
        environment = {**os.environ, "GATEWAY_SPOOL_DIR": str(spool)}
        done = room.run(environment, "spool", "salvage", room="producer_gateway")
        assert (done.returncode, done.stderr) == (0, "")
        assert "1 records brought back" in done.stdout
        name = "billing_gateway_spool_records"
        eventually(lambda: process.metric(name) == 2, "what was brought back", 60)
        assert process.metric("billing_gateway_spool_damaged_files") == 0
