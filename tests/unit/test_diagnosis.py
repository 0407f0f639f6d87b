"""What `billing doctor` makes of the answers it gets."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from operator_cli.diagnosis import (
    Answer,
    State,
    of_broken_trial,
    of_clock,
    of_gateway,
    of_group,
    of_proxy,
    of_schema,
    of_topics,
    of_trial,
)

NOW = datetime(2026, 11, 27, tzinfo=UTC)
REGISTERED = {"all_litellm_callbacks": ["<litellm...GenericAPILogger object at 0x7f>"]}


def answer(status: int = 200, /, **body: Any) -> Answer:  # noqa: ANN401 - JSON
    """What a server says."""
    return Answer(status, body, NOW)


def proxy(version: str = "1.110.2", db: str = "connected") -> Answer:
    """Details of a LiteLLM proxy."""
    return answer(litellm_version=version, db=db)


def states(*judged: Any) -> list[str]:  # noqa: ANN401 - findings
    """State and first words of each finding."""
    return [f"{one.state}: {one.said}" for one in judged]


def test_a_proxy_that_is_set_up_right_has_nothing_to_do() -> None:
    found = [*of_proxy(proxy(), answer(**REGISTERED))]
    assert states(*found) == [
        "fine: version 1.110.2",
        "fine: a generic_api callback is registered",
    ]
    assert [one.step for one in found] == ["", ""]


@pytest.mark.parametrize(
    ("version", "state"),
    [
        ("1.80.5", State.FAULT),
        ("1.80.7", State.WARNING),
        ("1.107.9", State.WARNING),
        ("1.108.0", State.FINE),
        ("1.110.2", State.FINE),
        ("2.0", State.FINE),
        ("1.111.0rc1", State.FINE),
        ("", State.WARNING),
        ("main", State.WARNING),
    ],
)
def test_a_release_of_litellm_is_judged_by_what_it_loses(version: str, state: State) -> None:
    first = next(of_proxy(proxy(version), answer(**REGISTERED)))
    assert first.state is state


@pytest.mark.parametrize(
    ("callbacks", "state"),
    [
        (answer(all_litellm_callbacks=[]), State.FAULT),
        (answer(all_litellm_callbacks=["langfuse"]), State.FAULT),
        (answer(404), State.WARNING),
        (answer(all_litellm_callbacks="all"), State.WARNING),
        (answer(**REGISTERED), State.FINE),
    ],
)
def test_a_callback_that_is_not_registered_bills_nothing(callbacks: Answer, state: State) -> None:
    _, found = of_proxy(proxy(), callbacks)
    assert found.state is state
    assert (found.step != "") == (state is State.FAULT)


def test_a_proxy_without_a_database_has_no_spend_log() -> None:
    *_, last = of_proxy(proxy(db="Not connected"), answer(**REGISTERED))
    assert states(last) == ["warning: its database: Not connected"]


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_key_that_is_refused_is_all_that_is_said(status: int) -> None:
    """By a proxy that tells its details to everybody, too."""
    for details in (proxy(), answer(status)):
        assert states(*of_proxy(details, answer(status))) == ["fault: the key is refused"]


@pytest.mark.parametrize(
    ("refused", "tried", "said"),
    [
        (answer(404), None, "fault: /v1/callbacks/litellm answers 404"),
        (answer(200), answer(200), "fault: /v1/callbacks/litellm answers 200"),
        (answer(202), None, "fault: it takes callbacks without a token"),
        (answer(401), None, "warning: it answers (401); no callback was posted"),
        (answer(401), answer(401), "fault: it refuses the token"),
        (answer(401), answer(202, accepted=1, spooled=0), "fine: it stored a self-test callback"),
        (answer(401), answer(202, accepted=1, spooled=1), "warning: it stored a self-test"),
        (answer(401), answer(503), "fault: it can store nothing"),
        (answer(401), answer(413), "fault: it answers a self-test callback with 413"),
    ],
    ids=str,
)
def test_a_gateway_is_judged_by_two_posts(refused: Answer, tried: Answer | None, said: str) -> None:
    (found,) = of_gateway(refused, tried)
    assert states(found)[0].startswith(said)
    assert (found.step == "") == (found.state is State.FINE)


@pytest.mark.parametrize("seconds", [-3600, -31, -30, 0, 30, 31])
def test_clocks_may_be_half_a_minute_apart(seconds: int) -> None:
    found = states(*of_clock("gateway", NOW + timedelta(seconds=seconds), NOW))
    said = "ahead of" if seconds > 0 else "behind"
    far = f"warning: its clock is {abs(seconds)} s {said} this machine's"
    assert found == ([far] if abs(seconds) > 30 else [])
    assert [*of_clock("gateway", None, NOW)] == []


def test_topics_group_and_schema() -> None:
    assert states(*of_topics([], [])) == ["fine: all topics are there, as declared"]
    assert [one.state for one in of_topics(["a"], ["b"])] == [State.FAULT, State.WARNING]
    assert states(*of_group("g", 2, 1_234)) == [
        "fine: the group g has 2 member(s), and 1,234 records wait"
    ]
    assert states(*of_group("g", 0, 5)) == ["fault: the group g has no member, and 5 records wait"]
    assert states(*of_schema([], None)) == ["fine: the schema is up to date"]
    assert states(*of_schema(["0010", "0011"], None)) == ["fault: pending migrations: 0010, 0011"]
    assert states(*of_schema(["0012"], "process 1 is old")) == [
        "warning: the last migration waits: process 1 is old"
    ]


@pytest.mark.parametrize(
    ("status", "written", "said"),
    [
        (202, True, "fine: a call that costs nothing has one, after 1.3 s"),
        (202, False, "fault: the call x has no receipt after 1 s"),
        (401, None, "fault: the gateway answers a call that costs nothing with 401"),
        (503, None, "fault: the gateway answers a call that costs nothing with 503"),
    ],
)
def test_a_trial_is_fine_with_its_receipt_alone(
    status: int,
    written: bool | None,  # noqa: FBT001
    said: str,
) -> None:
    found = of_trial("x", status, written, 1.26)
    assert states(found) == [said]
    assert bool(found.step) is (found.state is State.FAULT)


def test_a_trial_that_could_not_be_made_says_why() -> None:
    assert states(of_broken_trial("no route")) == ["fault: not tried: no route"]
