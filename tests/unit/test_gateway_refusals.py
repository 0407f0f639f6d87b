"""What is refused is said once a minute a kind, with nothing in it that nobody may see."""

import asyncio
import json
import logging
import re
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from structlog.testing import capture_logs

from producer_gateway.metrics import Metrics
from producer_gateway.probes import probes
from producer_gateway.refusals import Kind, Refusals, shown
from producer_gateway.request import RefusedError
from tests.doubles.memory_connection import talk
from tests.doubles.memory_gateway import TOKEN, MemoryGateway

WRONG_PATH = Kind("unknown", 404, "unknown_path", "litellm/eu")
WRONG_TOKEN = Kind("callbacks", 401, "wrong", "")


class Clock:
    """A clock that is told the time."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def request(path: str = "/v1/callbacks", request_id: bytes = b"a-request") -> Request:
    """A request as far as a refusal looks at it."""
    headers = [(b"host", b"x"), (b"x-request-id", request_id)]
    return Request({"type": "http", "path": path, "client": ("10.0.0.7", 1), "headers": headers})


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


@pytest.fixture
def refusals(clock: Clock) -> Refusals:
    """Refusals by that clock."""
    return Refusals(Metrics(), clock)


def test_a_kind_is_said_at_once_and_then_once_a_minute_with_what_came_meanwhile(
    refusals: Refusals, clock: Clock
) -> None:
    with capture_logs() as lines:
        for second in range(150):
            clock.now = 1_000.0 + second
            refusals.note(request(f"/{second}"), WRONG_PATH)
            refusals.say_rest()
    assert [(line["count"], line["path"]) for line in lines] == [
        (1, "/0"),
        (60, "/60"),
        (60, "/120"),
    ]
    assert lines[0] == {
        "event": "refused",
        "log_level": "warning",
        "status": 404,
        "reason": "unknown_path",
        "route": "unknown",
        "source": "litellm/eu",
        "path": "/0",
        "client": "10.0.0.7",
        "request_id": "a-request",
        "count": 1,
    }


def test_the_last_of_a_burst_are_said_too_and_then_nothing(
    refusals: Refusals, clock: Clock
) -> None:
    with capture_logs() as lines:
        for _ in range(3):
            refusals.note(request(), WRONG_PATH)
        for _ in range(5):
            clock.now += 60
            refusals.say_rest()
        refusals.note(request(), WRONG_PATH)
    assert [line["count"] for line in lines] == [1, 2, 1]


def test_kinds_do_not_hide_each_other(refusals: Refusals) -> None:
    with capture_logs() as lines:
        for _ in range(2):
            refusals.note(request(), WRONG_PATH)
            refusals.note(request(), WRONG_TOKEN)
            refusals.note(request(), Kind("callbacks", 503, "timeout", "litellm"), "Kafka is away")
    assert [(line["status"], line["source"]) for line in lines] == [
        (404, "litellm/eu"),
        (401, "unknown"),
        (503, "litellm"),
    ]
    assert (lines[2]["log_level"], lines[2]["detail"]) == ("error", "Kafka is away")


@given(st.text(max_size=300).map(lambda text: "/" + text))
def test_a_path_in_the_log_is_short_and_plain(path: str) -> None:
    text = shown(path)
    assert len(text) <= 100
    assert text.isascii()
    assert text.isprintable()
    assert not set(text) & set("\"'\\<>{}% ")


@pytest.mark.parametrize("path", [f"/{TOKEN}", f"/v1/{TOKEN}/x", f"/x{TOKEN}?{TOKEN}"])
def test_no_token_and_no_content_gets_into_the_log(path: str) -> None:
    double = MemoryGateway()
    with capture_logs() as lines:
        double.request(b'[{"messages": "secret"}', path=path)
        double.request(path=path, token=TOKEN[:-1] + "x")
        double.request(token=TOKEN[:-1] + "x")
        double.request(b'{"secret": 1}', path="/v1/usage-units")
    assert len(lines) == 4
    assert TOKEN[:25] not in str(lines)
    assert "secret" not in str(lines)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"req-7.a_b:c", True),
        (b"x" * 128, True),
        (b"", False),
        (b"x" * 129, False),
        (b"a b", False),
        (b"\xff", False),
        (b"a\nb", False),
    ],
)
def test_every_refusal_has_the_id_of_its_request_in_answer_and_log(
    sent: bytes,
    kept: bool,  # noqa: FBT001
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "producer_gateway.refusals")
    refusals, error = Refusals(Metrics()), RefusedError(413, "too_large", "send less")
    with capture_logs() as lines:
        answers = [refusals.answer(request("/", sent), "callbacks", error) for _ in range(2)]
    ids = [str(json.loads(bytes(answer.body))["request_id"]) for answer in answers]
    assert [answer.headers["x-request-id"] for answer in answers] == ids
    # For debugging each is said, otherwise one a minute of each kind.
    assert [line["request_id"] for line in lines if line["log_level"] == "debug"] == ids
    assert [line["request_id"] for line in lines if line["log_level"] != "debug"] == ids[:1]
    if kept:
        assert ids == [sent.decode()] * 2
    else:
        assert ids[0] != ids[1]
        assert all(re.fullmatch("[0-9a-f]{16}", id_) for id_ in ids)


class Ready:
    """A readiness that is not asked."""

    missing: dict[str, str] = {}  # noqa: RUF012 - never changed

    def state(self) -> dict[str, Any]:
        """Nothing to say."""
        return {}


def test_report_16_what_comes_to_the_port_of_the_probes_is_counted_and_told_where_to_go() -> None:
    double = MemoryGateway()
    app = probes(Ready(), double.metrics, double.gateway)  # type: ignore[arg-type]
    lines = [f"POST {path} HTTP/1.1" for path in ("/v1/callbacks/litellm", "/metrics", "/")]
    lines += [f"{method} {path} HTTP/1.1" for method, path in [("GET", "/x"), ("PUT", "/livez")]]
    head = f"\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    raw = "".join(line + head for line in lines).encode()
    told = talk(app, [raw + b"GET /livez HTTP/1.1\r\n\r\nGET /readyz HTTP/1.1\r\n\r\n\x00"])
    assert told.statuses == [404] * 5 + [200, 200, 400]
    assert b"/v1/callbacks/litellm" in told.answers[0].body
    assert double.metric("billing_gateway_requests_total", route="probes", status="404") == 5
    assert double.refused("404", "wrong_port", "litellm") == 5
    assert double.metric("billing_gateway_requests_total", route="unreadable", status="400") == 1


def test_the_rest_is_said_while_the_process_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producer_gateway.refusals._PAUSE_S", 0.0)
    structlog.reset_defaults()

    async def run() -> None:
        refusals = Refusals(Metrics())
        refusals.note(request(), WRONG_PATH)
        watching = asyncio.create_task(refusals.watch())
        await asyncio.sleep(0)
        watching.cancel()

    with capture_logs() as lines:
        asyncio.run(run())
    assert [line["count"] for line in lines] == [1]
