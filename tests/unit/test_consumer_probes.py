"""Probes tell the truth over plain HTTP; labels from strangers stay few."""

import json
import socket
from collections.abc import Iterator

import httpx
import pytest

from consumer.health import Health
from runtime import probes
from runtime.metrics import BoundedLabel
from runtime.probes import Probes
from tests.clients import fetching
from tests.waiting import NET_SECONDS

STALLED = 60.0


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(STALLED, clock)


@pytest.fixture
def url(health: Health) -> Iterator[str]:
    """The address of probes that judge `health`."""
    probes = Probes("127.0.0.1", 0, health.live, health.ready)
    yield f"http://127.0.0.1:{probes.server_port}"
    probes.shutdown()
    probes.server_close()


def get(url: str) -> tuple[int, str]:
    answer = fetching.get(url)
    return answer.status_code, answer.text


def test_a_member_is_ready_when_it_has_work_to_do_and_all_it_needs(
    url: str, health: Health
) -> None:
    code, said = get(f"{url}/readyz")
    assert code == 503
    assert "no partition" in json.loads(said)["missing"]["kafka"]
    health.assigned = 3
    assert get(f"{url}/readyz")[0] == 200
    health.missing = "postgresql"
    code, said = get(f"{url}/readyz")
    assert (code, list(json.loads(said)["missing"])) == (503, ["postgresql"])
    health.progressed()
    assert get(f"{url}/readyz?verbose=1")[0] == 200


def test_a_loop_that_stands_still_is_not_alive(url: str, health: Health, clock: Clock) -> None:
    assert get(f"{url}/livez")[0] == 200
    clock.now += STALLED + 1
    assert get(f"{url}/livez")[0] == 503
    health.turned()
    health.progressed()
    assert get(f"{url}/livez")[0] == 200


def test_a_dependency_that_is_away_is_no_reason_to_restart(health: Health, clock: Clock) -> None:
    health.assigned = 1
    health.missing = "postgresql"
    clock.now += 10 * STALLED
    health.turned()
    assert health.live() == {}
    assert health.ready() != {}


def test_a_loop_that_turns_and_settles_nothing_is_not_alive(health: Health, clock: Clock) -> None:
    health.assigned = 1
    clock.now += STALLED + 1
    health.turned()
    health.observed(lag=5)
    assert "progress" in health.live()
    health.observed(lag=0)
    assert health.live() == {}


def test_metrics_are_prometheus_and_anything_else_is_told_where_to_look(url: str) -> None:
    code, said = get(f"{url}/metrics")
    assert code == 200
    assert "# TYPE billing_consumer_kafka_errors_total counter" in said
    code, said = get(f"{url}/")
    assert code == 404
    assert "/metrics" in said


def test_a_label_from_strangers_stays_bounded() -> None:
    label = BoundedLabel(limit=3)
    assert [label(name) for name in ("a", "b", "a", None, "c", "b", "")] == [
        "a", "b", "a", "unknown", "other", "b", "unknown",
    ]  # fmt: skip
    assert len(BoundedLabel()("x" * 10_000)) == 128


@pytest.mark.parametrize("fault", [ConnectionResetError, BrokenPipeError, ValueError])
def test_who_hangs_up_is_no_news(
    fault: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> dict[str, str]:
        raise fault

    probes = Probes("127.0.0.1", 0, fails, fails)
    with pytest.raises(httpx.TransportError):
        get(f"http://127.0.0.1:{probes.server_port}/livez")
    probes.shutdown()
    probes.server_close()
    assert ("Traceback" in capsys.readouterr().err) is (fault is ValueError)


@pytest.mark.parametrize("sent", [b"", b"GET /livez HT"])
def test_who_asks_for_nothing_keeps_no_thread(
    url: str, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience = probes._Handler.timeout  # noqa: SLF001 - a test has less of it
    assert 0 < patience <= 60
    monkeypatch.setattr("runtime.probes._Handler.timeout", 0.1)
    address = httpx.URL(url)
    with socket.create_connection((address.host, address.port or 0), NET_SECONDS) as connection:
        connection.sendall(sent)
        connection.settimeout(20)
        assert connection.recv(1) == b""
