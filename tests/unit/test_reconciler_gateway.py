"""Posting lost calls: what may pass is tried again; nothing counts unless it was answered 2xx."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from reconciler.gateway import Gateway, GatewayError
from reconciler.proxy import Patience

TOKEN = "token-of-thirty-two-characters-ab"  # noqa: S105 - of a gateway in memory
CALLS = [json.dumps({"id": str(number)}).encode() for number in range(10)]


class Installation(ThreadingHTTPServer):
    """A gateway: what it took, and what it answers first; a status of 0 hangs up."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.taken: list[list[dict[str, Any]]] = []
        self.tokens: set[str] = set()
        self.at_once = self.most_at_once = 0
        self.parked = 0
        self.waited: list[float] = []
        self.faults: list[str] = []
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - inherited
        """Say nothing of clients that it hung up on."""

    @contextmanager
    def posting(self, **settings: int) -> Iterator[Gateway]:
        """A client of it."""
        url = f"http://127.0.0.1:{self.server_address[1]}"
        chosen = {"posts_at_once": 2, "callbacks_a_post": 4, **settings}
        with Gateway(
            url,
            lambda: TOKEN,
            Patience(silence=5.0, tries=3, longest_pause=1.0, answer_bytes=1_000),
            wait=self.waited.append,
            failed=self.faults.append,
            **chosen,
        ) as client:
            yield client

    @property
    def ids(self) -> list[str]:
        """The callbacks that it has taken."""
        return sorted(one["id"] for body in self.taken for one in body)


class _Handler(BaseHTTPRequestHandler):
    server: Installation
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - inherited
        pass

    def do_POST(self) -> None:
        installation = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with installation.lock:
            installation.at_once += 1
            installation.most_at_once = max(installation.most_at_once, installation.at_once)
            installation.tokens.add(self.headers["Authorization"])
            status, headers = installation.answers.pop(0) if installation.answers else (202, {})
            if status == 202:
                installation.taken.append(body)
        if status == 0:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            text = json.dumps({"accepted": len(body), "parked": installation.parked}).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)
        with installation.lock:
            installation.at_once -= 1


@pytest.fixture
def installation() -> Iterator[Installation]:
    """A gateway on loopback."""
    made = Installation()
    yield made
    made.shutdown()
    made.server_close()


def test_calls_are_posted_a_few_at_a_time_under_the_proxys_token(
    installation: Installation,
) -> None:
    with installation.posting() as gateway:
        taken = gateway.post(CALLS)
    assert (taken.callbacks, taken.parked) == (10, 0)
    assert installation.ids == [str(number) for number in range(10)]
    assert sorted(map(len, installation.taken)) == [2, 4, 4]
    assert installation.most_at_once <= 2
    assert installation.tokens == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("status", [0, 429, 500, 503])
def test_what_may_pass_is_posted_again_after_a_pause(
    installation: Installation, status: int
) -> None:
    installation.answers = [(status, {})]
    with installation.posting(posts_at_once=1) as gateway:
        assert gateway.post(CALLS).callbacks == 10
    assert installation.ids == [str(number) for number in range(10)]
    assert len(installation.waited) == len(installation.faults) == 1


def test_a_retry_after_is_waited_for(installation: Installation) -> None:
    installation.answers = [(503, {"Retry-After": "7"})]
    with installation.posting(posts_at_once=1) as gateway:
        gateway.post(CALLS[:1])
    assert installation.waited == [7.0]


def test_what_is_not_taken_in_all_tries_is_an_error(installation: Installation) -> None:
    installation.answers = [(503, {})] * 3
    with (
        installation.posting(posts_at_once=1) as gateway,
        pytest.raises(GatewayError, match="3 tries"),
    ):
        gateway.post(CALLS)
    assert len(installation.waited) == 2
    # The others were taken all the same: posting them again does no harm.
    assert len(installation.ids) == 6


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_what_the_gateway_refuses_is_an_error_at_once_and_shows_no_token(
    installation: Installation, status: int
) -> None:
    installation.answers = [(status, {})]
    with installation.posting(posts_at_once=1) as gateway, pytest.raises(GatewayError) as caught:
        gateway.post(CALLS[:1])
    assert str(status) in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert installation.waited == []


def test_a_body_that_is_too_large_is_posted_in_halves(installation: Installation) -> None:
    installation.answers = [(413, {})]
    with installation.posting(posts_at_once=1) as gateway:
        gateway.post(CALLS[:4])
    assert sorted(map(len, installation.taken)) == [2, 2]


def test_what_the_gateway_could_not_read_is_told(installation: Installation) -> None:
    installation.parked = 1
    with installation.posting() as gateway:
        taken = gateway.post(CALLS)
    assert (taken.callbacks, taken.parked) == (10, 3)


def test_whoever_is_to_stop_waits_for_no_further_try(installation: Installation) -> None:
    class StopError(Exception):
        """The process is to end."""

    def stop(_: float) -> None:
        raise StopError

    installation.answers = [(503, {})]
    with installation.posting(posts_at_once=1) as gateway, pytest.MonkeyPatch.context() as patch:
        patch.setattr(gateway, "_wait", stop)
        with pytest.raises(StopError):
            gateway.post(CALLS[:1])
