"""Usage units come through the framework, and it changes nothing but that."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import pytest

from producer_gateway.routes import CALLBACKS_PATH, USAGE_UNITS_PATH
from producer_gateway.store import Record, Stored
from tests.doubles.memory_gateway import MemoryGateway
from tests.inputs.callbacks import usage_unit

UNIT = json.dumps(usage_unit()).encode()


async def broken(records: Sequence[Record]) -> Stored:
    """Fail as nobody has foreseen."""
    raise ZeroDivisionError(len(records))


@pytest.fixture
def double() -> MemoryGateway:
    """A gateway that stores in memory."""
    return MemoryGateway()


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("?a=%ff&a;b=&&=%", {}),
        (f"?{'&' * 5_000}", {}),
        ("", {"cookie": 'a="\\x; ; =; b'}),
        ("", {"content-type": "multipart/form-data"}),
        ("", {"content-type": "text/plain", "accept": "text/html"}),
    ],
)
def test_usage_units_are_taken_whatever_the_request_says_besides(
    double: MemoryGateway, query: str, headers: dict[str, str]
) -> None:
    answer = double.request(UNIT, path=f"{USAGE_UNITS_PATH}{query}", headers=headers)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "parked": 0, "spooled": 0})
    assert [record.topic for record in double.store.records] == ["billing.usage-units.v1"]


def test_usage_units_that_do_not_arrive_are_given_up() -> None:
    double = MemoryGateway(GATEWAY_BODY_TIMEOUT_S="0.2")

    async def stuck() -> AsyncIterator[bytes]:
        yield UNIT
        await asyncio.Event().wait()

    answer = double.request(stuck(), path=USAGE_UNITS_PATH)
    assert (answer.status_code, answer.json()["error"]) == (408, "slow_body")
    assert answer.headers["connection"] == "close"
    assert double.metric("billing_gateway_abandoned_requests_total") == 1
    assert double.metric("billing_gateway_inflight_bytes") == 0


@pytest.mark.parametrize(
    ("path", "route"), [(CALLBACKS_PATH, "callbacks"), (USAGE_UNITS_PATH, "usage_units")]
)
def test_a_failure_of_ours_is_counted_and_goes_on_to_who_logs_it(
    double: MemoryGateway, monkeypatch: pytest.MonkeyPatch, path: str, route: str
) -> None:
    monkeypatch.setattr(double.store, "store", broken)
    with pytest.raises(ZeroDivisionError):
        double.request(UNIT if path == USAGE_UNITS_PATH else b"[{}]", path=path)
    assert double.metric("billing_gateway_requests_total", route=route, status="500") == 1
    assert double.refused("500", "failure", "litellm") == 1


def test_what_the_document_describes_is_what_is_served(
    double: MemoryGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A usage unit is answered by the described route and not beside it."""
    monkeypatch.setattr("fastapi.FastAPI.__call__", _gone)
    with pytest.raises(LookupError):
        double.request(UNIT, path=USAGE_UNITS_PATH)
    assert double.request().status_code == 202
    assert double.request(path="/elsewhere").status_code == 404


async def _gone(*_: object) -> None:
    raise LookupError
