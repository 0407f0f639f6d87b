"""A spend guard's process and sockets that mean no good."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.clients.wire import converse
from tests.processes.guarding import TOKEN, SpendGuard
from tests.waiting import NET_SECONDS

IDLE: Final = 300
FILES: Final = 200
MOST: Final = 16
TIMEOUT_S: Final = 2
ASK: Final = json.dumps(
    {"account": "acct", "litellm_call_id": "a", "nonce": "n", "amount_credits": 5}
).encode()
START: Final = b"POST /v1/holds HTTP/1.1\r\nHost: guard\r\n"
HEAD: Final = (
    START
    + b"Authorization: Bearer "
    + TOKEN.encode()
    + b"\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ASK)
)
WHOLE: Final = HEAD + ASK
CLOSED: Final = "billing_guard_closed_connections_total"


@contextmanager
def silent(guard: SpendGuard, count: int) -> Iterator[list[socket.socket]]:
    """So many connections that say nothing."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", guard.port), NET_SECONDS))
            for _ in range(count)
        ]


def read(connection: socket.socket) -> bytes:
    """The whole answer to an ask."""
    answer = b""
    while not answer.endswith(b"}"):
        part = connection.recv(65_536)
        assert part, answer
        answer += part
    return answer


def ends(connection: socket.socket) -> bool:
    """Whether the other side ends it, and says nothing more."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_silent_connections_leave_the_plugin_its_room(
    migrated_database_url: str, tmp_path: Path
) -> None:
    settings = {"SPEND_GUARD_MAX_CONNECTIONS": str(MOST), "SPEND_GUARD_REQUEST_TIMEOUT_S": "600"}
    with SpendGuard(migrated_database_url, tmp_path, **settings).running() as guard:
        assert guard.ask("acct", "before", 5).is_success
        with socket.create_connection(("127.0.0.1", guard.port), NET_SECONDS) as kept:
            kept.sendall(WHOLE)
            assert read(kept).startswith(b"HTTP/1.1 200")
            with silent(guard, 4 * MOST):
                assert guard.ask("acct", "among them", 5).is_success
                assert guard.metric("billing_guard_open_connections") <= MOST
                assert guard.metric("billing_guard_max_connections") == MOST
                assert guard.metric(CLOSED, reason="no_room") >= 3 * MOST
                # Whoever had an answer stays before strangers.
                kept.sendall(WHOLE)
                assert read(kept).startswith(b"HTTP/1.1 200")


def test_a_process_with_few_files_says_so_and_serves(
    migrated_database_url: str, tmp_path: Path
) -> None:
    guard = SpendGuard(migrated_database_url, tmp_path)
    guard.limit_files(FILES)
    with guard.running(), silent(guard, IDLE):
        assert guard.ask("acct", "a", 5).is_success
        assert guard.probe("/readyz") == 200
        assert guard.metric("billing_guard_max_connections") == FILES // 2
    said = guard.log.read_text()
    assert "too few files for SPEND_GUARD_MAX_CONNECTIONS" in said


def test_what_does_not_come_whole_in_time_is_closed_and_holds_nothing(
    migrated_database_url: str, tmp_path: Path
) -> None:
    settings = {"SPEND_GUARD_REQUEST_TIMEOUT_S": str(TIMEOUT_S)}
    begun = {
        "nothing": b"",
        "half a head": START,
        "half a body": HEAD + ASK[:-5],
        # What has come is an ask, but nobody knows whether it is the whole one.
        "a body without its end": HEAD.replace(b": %d\r\n" % len(ASK), b": 1000\r\n")
        + ASK.replace(b'"a"', b'"b"'),
        "half a second one": WHOLE + START,
    }
    with SpendGuard(migrated_database_url, tmp_path, **settings).running() as guard:
        # Seconds of the wall, as the guard counts them: that they were long is no fault.
        began = time.monotonic()
        with ThreadPoolExecutor(len(begun)) as pool:
            talks = pool.map(
                lambda sent: converse(guard.port, sent, 2, ends=False, seconds=60), begun.values()
            )
            said = dict(zip(begun, talks, strict=True))
        assert time.monotonic() - began >= TIMEOUT_S
        assert all(one.closed for one in said.values())
        answered = {name: [one.status for one in talk.answers] for name, talk in said.items()}
        assert answered == {name: [] for name in begun} | {"half a second one": [200]}
        assert guard.metric(CLOSED, reason="slow") == 4
        assert guard.metric(CLOSED, reason="silent") == 1
        assert guard.account("acct").json()["held"] == 5


def test_a_body_byte_by_byte_is_closed_and_a_kept_connection_is_not(
    migrated_database_url: str, tmp_path: Path
) -> None:
    settings = {"SPEND_GUARD_REQUEST_TIMEOUT_S": str(TIMEOUT_S)}
    with (
        SpendGuard(migrated_database_url, tmp_path, **settings).running() as guard,
        socket.create_connection(("127.0.0.1", guard.port), NET_SECONDS) as kept,
        socket.create_connection(("127.0.0.1", guard.port), NET_SECONDS) as slow,
    ):
        kept.sendall(WHOLE)
        slow.sendall(HEAD)
        slow.settimeout(0.2)
        ended = False
        for byte in ASK[:-1]:
            try:
                slow.sendall(bytes([byte]))
                ended = slow.recv(100) == b""
            except TimeoutError:
                continue
            except OSError:
                ended = True
            if ended:
                break
        assert ended
        # It has rested for longer than a request may take.
        assert read(kept).startswith(b"HTTP/1.1 200")
        kept.sendall(WHOLE)
        assert read(kept).startswith(b"HTTP/1.1 200")
        # An empty line is no request, and ends uvicorn's own patience.
        kept.sendall(b"\r\n")
        assert ends(kept)


def test_a_stranger_keeps_no_connection(migrated_database_url: str, tmp_path: Path) -> None:
    with SpendGuard(migrated_database_url, tmp_path).running() as guard:
        sent = WHOLE.replace(TOKEN.encode(), b"x" * 32)
        said = converse(guard.port, sent, 2, ends=False, seconds=30)
    assert ([answer.status for answer in said.answers], said.closed) == ([401], True)
