"""Real clients at the gateway's door, as they are: each sends what it sends by default.

Report 01: those that offer HTTP/2 were answered 202 and their bodies thrown away. Report 16: a path
with a slash too many was answered by a redirect, a wrong one by nothing that anybody counted.
"""

import json
import secrets
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from billing_stream_client import Run
from schemas.topics import Topics
from tests.clients.wire import answers, converse
from tests.inputs import captures
from tests.inputs.callbacks import element, in_run
from tests.observers.stored_values import StoredValues
from tests.processes.gateway import AUTHORIZED, CALLBACKS_PATH, TOKEN, Gateway
from tests.processes.process import whole_lines
from tests.waiting import eventually

JAVA = Path(__file__).parent / "clients" / "Defaults.java"
ONE = {"accepted": 1, "parked": 0, "spooled": 0}
CLIENT_SECONDS = 600.0
H2C = (
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"
)
WEBSOCKET = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13"


class Door:
    """A gateway, and what it stored since the last look."""

    def __init__(self, gateway: Gateway, stored: StoredValues) -> None:
        self.gateway = gateway
        self.url = gateway.url + CALLBACKS_PATH
        self.stored = stored.read_on

    def counted(self, route: str, status: str) -> float:
        """How many answers."""
        return self.gateway.metric("billing_gateway_requests_total", route=route, status=status)


@pytest.fixture(scope="module")
def door(
    kafka: str, make_topics: Callable[[str], Topics], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Door]:
    """One gateway for all of them."""
    prefix = f"clients{secrets.token_hex(4)}."
    topics = make_topics(prefix)
    gateway = Gateway(kafka, prefix, tmp_path_factory.mktemp("door"))
    names = [topics.callbacks.name, topics.dead_letters.name, topics.usage_units.name]
    with gateway.running(), closing(StoredValues(kafka, names)) as stored:
        yield Door(gateway, stored)


def ran(*command: str, given: bytes) -> list[str]:
    """The lines that a client printed."""
    done = subprocess.run(
        command, input=given, capture_output=True, check=False, timeout=CLIENT_SECONDS
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


@pytest.mark.parametrize("more", [(), ("-H", "Transfer-Encoding: chunked"), ("-H", "Expect:")])
def test_report_01_curl_that_offers_http_2(door: Door, more: tuple[str, ...]) -> None:
    if not (curl := shutil.which("curl")):
        pytest.skip("curl is not here")
    # Over 1 MiB, it waits for 100 Continue first: head and body are two segments for certain.
    for value in (in_run(1), element(messages="x" * 1_100_000)):
        command = [curl, "--silent", "--show-error", "--http2", "--data-binary", "@-", *more]
        command += ["-H", f"Authorization: Bearer {TOKEN}", door.url]
        assert [json.loads(line) for line in ran(*command, given=value)] == [ONE]
        assert door.stored() == [value]


def test_report_01_javas_client_with_its_defaults(door: Door) -> None:
    if not (java := shutil.which("java")):
        pytest.skip("Java is not here")
    value = in_run(2)
    lines = ran(java, str(JAVA), door.url, TOKEN, given=value)
    assert [line.split(" ", 1)[0] for line in lines] == ["202"] * 3
    assert [json.loads(line.split(" ", 1)[1]) for line in lines] == [ONE] * 3
    assert door.stored() == [value] * 3


def received(connection: socket.socket, end: bytes) -> bytes:
    """What came, up to this end."""
    data = b""
    while not data.endswith(end):
        more = connection.recv(65_536)
        assert more, f"the connection ended after {data!r}"
        data += more
    return data


@pytest.mark.parametrize("offer", [H2C, WEBSOCKET])
def test_report_01_head_and_body_in_two_segments_and_a_request_behind(
    door: Door, offer: bytes
) -> None:
    value = in_run(3)
    head = (
        b"POST %s HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer %s\r\n%s\r\n"
        b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n"
    ) % (CALLBACKS_PATH.encode(), TOKEN.encode(), offer, len(value))
    with socket.create_connection(("127.0.0.1", door.gateway.port), CLIENT_SECONDS) as connection:
        connection.sendall(head)
        assert received(connection, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(value)
        first = received(connection, b"}")
        assert [(a.status, json.loads(a.body)) for a in answers(first)] == [(202, ONE)]
        # Nothing else came as an answer to the first one.
        connection.sendall(head.replace(b"Expect: 100-continue", b"X: y") + value)
        assert received(connection, b"}").startswith(b"HTTP/1.1 202 ")
    assert door.stored() == [value] * 2


def test_a_client_that_ends_its_side_still_gets_its_answers(door: Door) -> None:
    value = in_run(6)
    raw = b"POST %s HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer %s\r\n%s\r\n" % (
        CALLBACKS_PATH.encode(),
        TOKEN.encode(),
        H2C,
    )
    raw += b"Content-Length: %d\r\n\r\n%s" % (len(value), value)
    talk = converse(door.gateway.port, raw * 3, 4, ends=True, seconds=CLIENT_SECONDS)
    assert ([answer.status for answer in talk.answers], talk.closed) == ([202] * 3, True)
    assert door.stored() == [value] * 3


@pytest.mark.parametrize(
    "path", ["/v1/callbacks/litellm/", "//v1/callbacks/litellm", "/v1//callbacks/litellm"]
)
def test_report_16_a_slash_too_many_is_forgiven(door: Door, path: str) -> None:
    value = in_run(4)
    raw = b"POST %s HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer %s\r\n" % (
        path.encode(),
        TOKEN.encode(),
    )
    raw += b"Content-Length: %d\r\n\r\n%s" % (len(value), value)
    (answer,) = converse(door.gateway.port, raw, 1, ends=False, seconds=CLIENT_SECONDS).answers
    assert (answer.status, json.loads(answer.body)) == (202, ONE)
    assert door.stored() == [value]


def test_report_16_a_wrong_path_is_counted_and_said(door: Door) -> None:
    before = door.counted("unknown", "404")
    answer = door.gateway.post(captures.array([in_run(5)]), "/v1/callbacks")
    assert (answer.status_code, "location" in answer.headers) == (404, False)
    assert door.counted("unknown", "404") == before + 1
    log = door.gateway.server.log
    said = '"reason": "unknown_path"'
    eventually(lambda: any(said in line for line in whole_lines(log)), "a line in the log")
    assert '"path": "/v1/callbacks"' in log.read_text()
    assert TOKEN not in log.read_text()


def test_report_16_the_wrong_port_and_no_http_are_counted(door: Door) -> None:
    answer = door.gateway.client.post(
        door.gateway.metrics_url + CALLBACKS_PATH, content=b"[]", headers=AUTHORIZED
    )
    assert answer.status_code == 404
    assert door.counted("probes", "404") == 1
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"  # a client that takes it for HTTPS
    talk = converse(door.gateway.port, hello, 1, ends=False, seconds=CLIENT_SECONDS)
    assert ([answer.status for answer in talk.answers], talk.closed) == ([400], False)
    assert door.counted("unreadable", "400") == 1
    assert door.stored() == []


def test_the_end_of_a_run_comes_to_the_topic_after_the_run_s_calls(door: Door) -> None:
    run = Run("run-7", attempt=2, gateway_url=door.gateway.url, token=TOKEN)
    run.call().answered({"x-litellm-call-id": "c-1"})
    assert run.complete()
    call, end = (json.loads(value) for value in door.stored())
    assert (call["litellm_call_id"], "run_completed" in call) == ("c-1", False)
    assert (end["run_id"], end["attempt"], end["run_completed"]) == ("run-7", 2, True)
