"""At the gateway's door nothing is lost in silence: it becomes a receipt, or a counted refusal."""

import json

import pytest

from tests.inputs import captures
from tests.inputs.captures import Calls
from tests.observers.deployment import Deployment
from tests.observers.ledger import Ledger
from tests.observers.topics import Topics
from tests.observers.traffic import Traffic

OFFERS = (
    {
        "Upgrade": "h2c",
        "Connection": "Upgrade, HTTP2-Settings",
        "HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAA",
    },
    {"Upgrade": "websocket", "Connection": "Upgrade"},
)
USAGE_UNITS = "/v1/usage-units"


@pytest.fixture
def traffic(deployment: Deployment, topics: Topics, ledger: Ledger) -> Traffic:
    """The topics from here on."""
    return Traffic(deployment, topics, ledger)


def assert_charged(traffic: Traffic, topics: Topics, response_id: str) -> None:
    """The call of the reports has its one receipt."""
    topics.wait_until_consumed()
    row = traffic.ledger.receipt(response_id=response_id)
    assert (row["cost_text"], row["charged_credits"]) == ("0.0000135", 135)


@pytest.mark.parametrize("offer", OFFERS, ids=lambda offer: str(offer["Upgrade"]))
def test_report_01_a_callback_with_an_offer_to_upgrade_is_charged(
    traffic: Traffic, topics: Topics, calls: Calls, offer: dict[str, str]
) -> None:
    call = calls.with_cost("1.35e-05")
    answer = traffic.deployment.post(captures.array([call.element]), headers=offer)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
    assert_charged(traffic, topics, call.response_id)
    unit = {"unit_id": calls.name("unit").removeprefix("unit-"), "run_id": "r", "executor": "tests"}
    unit["finished_at"] = "2026-11-22T10:00:00Z"
    body = json.dumps(unit).encode()
    answer = traffic.deployment.post(body, path=USAGE_UNITS, headers=offer)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1)


@pytest.mark.parametrize("body", [b"", b"\n "])
@pytest.mark.parametrize("path", ["/v1/callbacks/litellm", USAGE_UNITS])
def test_report_01_an_empty_body_is_400(traffic: Traffic, body: bytes, path: str) -> None:
    for headers in ({}, *OFFERS):
        answer = traffic.deployment.post(body, path=path, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (400, "empty_body")
    assert traffic.nothing_happened()


@pytest.mark.parametrize(
    "path", ["/v1/callbacks/litellm/", "//v1/callbacks/litellm", "/v1//callbacks/litellm"]
)
def test_report_16_a_slash_too_many_is_charged_all_the_same(
    traffic: Traffic, topics: Topics, calls: Calls, path: str
) -> None:
    call = calls.with_cost("1.35e-05")
    answer = traffic.deployment.post(captures.array([call.element]), path=path)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
    assert_charged(traffic, topics, call.response_id)


@pytest.mark.parametrize("path", ["/v1/callbacks", "/", "/v1/callbacks/litellm/x"])
def test_report_16_a_wrong_path_is_refused_counted_and_told_the_right_one(
    traffic: Traffic, calls: Calls, path: str
) -> None:
    def counted() -> float:
        everything = traffic.deployment.counted()
        return sum(
            value
            for name, value in everything.items()
            if "billing_gateway_requests_total" in name and "404" in name
        )

    before = counted()
    answer = traffic.deployment.post(captures.array([calls.make().element]), path=path)
    assert answer.status_code == 404
    assert "/v1/callbacks/litellm" in answer.json()["paths"]
    assert counted() == before + 1
    assert traffic.nothing_happened()
