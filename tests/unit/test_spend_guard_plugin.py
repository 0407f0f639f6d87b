"""The plugin of the spend guard without LiteLLM: what it asks, and what it does alone."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final

import httpx
import pytest
from prometheus_client import REGISTRY

from spend_guard.messages import HoldAsk
from tests.doubles.asking_proxy import AskingProxy
from tests.doubles.litellm_stub import Router, loaded

PRICES: Final[dict[str, dict[str, Any]]] = {
    "openai/priced": {
        "input_cost_per_token": 1.5e-07,
        "output_cost_per_token": 6e-07,
        "max_output_tokens": 1_000,
    },
    "openai/dear": {"input_cost_per_token": 1e-05, "output_cost_per_token": 3e-05},
    # As LiteLLM lists deployments without a price.
    "openai/unpriced": {"input_cost_per_token": 0, "output_cost_per_token": 0},
}
CHEAP: Final = ("0.00000015", "0.0000006")
DEAR: Final = ("0.00001", "0.00003")
ROUTER: Final = Router()
ROUTER.deployments = {
    "cheap": [{"litellm_params": {"model": "openai/priced"}}],
    "mixed": [
        {"litellm_params": {"model": "openai/priced"}},
        {"litellm_params": {"model": "openai/dear"}},
    ],
    "own": [
        {
            "litellm_params": {
                "model": "openai/unknown",
                "input_cost_per_token": 2e-06,
                "output_cost_per_token": 8e-06,
            }
        }
    ],
    "gratis": [
        {
            "litellm_params": {
                "model": "openai/unpriced",
                "input_cost_per_token": 0,
                "output_cost_per_token": 0,
            }
        }
    ],
    "ruinous": [{"litellm_params": {"model": "x", "output_cost_per_token": 1_000}}],
    "openai/dear": [{"litellm_params": {"model": "openai/*"}}],
    "unpriced": [{"litellm_params": {"model": "openai/unpriced"}}],
}


@pytest.fixture(scope="module")
def plugin() -> Iterator[Any]:
    """The plugin's module."""
    with loaded(PRICES, ROUTER) as module:
        yield module


@pytest.fixture
def proxied(plugin: Any) -> Iterator[Callable[..., AskingProxy]]:  # noqa: ANN401 - as above
    """Makes proxies with settings."""
    made = list[AskingProxy]()

    def make(**settings: str) -> AskingProxy:
        made.append(AskingProxy(plugin, **settings))
        return made[-1]

    yield make
    for proxy in made:
        proxy.loop.run_until_complete(proxy.plugin._connection().aclose())  # noqa: SLF001 - it has no end of its own
        proxy.loop.close()


Proxied = Callable[..., AskingProxy]


def test_a_hold_is_written_to_every_place_in_place(proxied: Proxied) -> None:
    proxy = proxied()
    hold = proxy.guard.holds()
    of_key = {"team": "red"}
    box: dict[str, Any] = {"user_api_key_hash": "1", "spend_logs_metadata": of_key}
    requester = {"spend_logs_metadata": {"billing_hold": "spoofed"}}
    box["requester_metadata"] = requester
    client: dict[str, Any] = {"user_id": "acme"}

    data = proxy.call(litellm_metadata=box, metadata=client)

    assert data["litellm_metadata"] is box
    assert box["spend_logs_metadata"] == {"team": "red", "billing_hold": hold}
    assert requester["spend_logs_metadata"] == {"billing_hold": hold}
    assert client == {"user_id": "acme"}, "a provider refuses what it does not know"
    assert of_key == {"team": "red"}, "all calls of a key share it"


def test_a_body_that_is_passed_on_as_it_is_takes_no_hold(proxied: Proxied) -> None:
    proxy = proxied()
    hold = proxy.guard.holds()
    client = {"user_id": "acme"}

    proxy.call(litellm_metadata=None, metadata=client)
    proxy.failed({})

    assert client == {"user_id": "acme"}
    assert proxy.guard.released == [hold]


def test_metadata_that_is_no_object_still_brings_the_hold_back(proxied: Proxied) -> None:
    proxy = proxied()
    hold = proxy.guard.holds()

    data = proxy.call(metadata={"spend_logs_metadata": ["odd"]})

    assert data["metadata"]["spend_logs_metadata"] == {"run_id": [["odd"]], "billing_hold": hold}


@pytest.mark.parametrize("said", [{"billing_hold": "1", "a": 1}, '{"billing_hold": "1", "a": 1}'])
def test_where_no_hold_is_made_a_client_names_none(proxied: Proxied, said: object) -> None:
    proxy = proxied()

    data = proxy.call(metadata={"spend_logs_metadata": said})

    assert data["metadata"]["spend_logs_metadata"] == {"a": 1}


def test_a_refusal_says_who_lacks_how_much(proxied: Proxied) -> None:
    proxy = proxied()
    proxy.guard.status = 402
    proxy.guard.body = {"error": {"required": 123_000, "available": -5}}

    assert proxy.refused() == (
        "Account 'acme' has not enough credit for this call: it may cost 0.0123 USD, and "
        "-0.0000005 USD are available. Top up the account, or set a lower max_tokens."
    )


def test_a_refusal_without_amounts_says_what_the_guard_says(proxied: Proxied) -> None:
    proxy = proxied()
    proxy.guard.status = 402
    proxy.guard.body = {"error": {"message": "nobody has opened it.", "required": None}}

    assert proxy.refused() == (
        "Account 'acme' has not enough credit for this call: nobody has opened it."
    )


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, {}),
        (422, {}),
        (503, {}),
        (503, []),
        (503, {"error": {"type": "account_busy"}}),
        (200, {"hold": "x"}),
        (200, []),
    ],
)
@pytest.mark.parametrize("kind", ["prepaid", "postpaid", "unknown"])
@pytest.mark.parametrize("fail", ["auto", "open", "closed"])
def test_without_an_answer_the_setting_and_the_kind_of_the_account_decide(
    proxied: Proxied, fail: str, kind: str, status: int, body: object
) -> None:
    proxy = proxied(SPEND_GUARD_FAIL=fail)
    if kind != "unknown":
        proxy.guard.holds(kind=kind)
        proxy.call()
    proxy.guard.status, proxy.guard.body = status, body

    if fail == "closed" or (fail, kind) == ("auto", "prepaid"):
        assert "cannot be checked at the moment" in proxy.refused()
        assert proxy.plugin.counted["failed_closed"] == 1
    else:
        said = {"spend_logs_metadata": {"billing_hold": "spoofed"}}
        assert proxy.call(metadata=said)["metadata"]["spend_logs_metadata"] == {}
        assert proxy.plugin.counted["failed_open"] == 1


def test_calls_that_the_guard_did_not_decide_are_counted_for_alarms(proxied: Proxied) -> None:
    def counted() -> float:
        labels = {"outcome": "failed_open", "reason": "ConnectError"}
        return REGISTRY.get_sample_value("billing_spend_guard_calls_total", labels) or 0.0

    proxy, before = proxied(), counted()
    proxy.guard.fault = httpx.ConnectError("away")

    proxy.call()

    assert counted() == before + 1


def test_an_account_that_was_refused_is_not_let_through_when_the_guard_goes_away(
    proxied: Proxied,
) -> None:
    proxy = proxied()
    proxy.guard.status, proxy.guard.body = 402, {"error": {}}
    proxy.refused()
    proxy.guard.fault = httpx.ConnectError("away")

    proxy.refused()
    proxy.call("somebody else")


def test_a_fault_of_the_plugin_itself_is_no_fault_of_the_client(proxied: Proxied) -> None:
    broken: dict[str, Any] = {"proxy_server_request": {"headers": 7}, "max_tokens": 5}

    assert proxied().call(**broken)["max_tokens"] == 5
    proxied(SPEND_GUARD_FAIL="closed").refused(**broken)


def test_a_hold_that_comes_too_late_is_released(proxied: Proxied) -> None:
    """Else it would keep credits from other calls until it expires, and nobody would spend them."""
    proxy = proxied()
    hold = proxy.guard.holds()
    proxy.guard.fault = httpx.ReadTimeout("late")
    proxy.call()
    proxy.guard.fault = None

    proxy.goes_on()

    first, again = proxy.guard.asked
    assert again.pop("answer_within_ms") > first.pop("answer_within_ms") == 250
    assert first == again, "the same ask has the same hold"
    assert proxy.guard.released == [hold]


def test_a_guard_that_stays_silent_is_asked_for_no_late_hold_any_more(proxied: Proxied) -> None:
    proxy = proxied()
    proxy.guard.fault = httpx.ReadTimeout("late")
    proxy.call()

    proxy.goes_on()

    assert len(proxy.guard.asked) == 2
    assert proxy.plugin.counted["release_failed"] == 1


def test_a_guard_that_fails_is_left_alone_and_tried_by_one_call_at_a_time(
    proxied: Proxied,
) -> None:
    proxy = proxied(SPEND_GUARD_BREAKER_FAILURES="3", SPEND_GUARD_BREAKER_SECONDS="5")
    proxy.guard.fault = httpx.ConnectError("away")
    for _ in range(10):
        proxy.call()
    assert len(proxy.guard.asked) == 3

    proxy.now = 6.0
    for _ in range(10):
        proxy.call()
    assert len(proxy.guard.asked) == 4

    proxy.now, proxy.guard.fault = 12.0, None
    for _ in range(10):
        proxy.call()
    assert len(proxy.guard.asked) == 14


def test_an_account_that_is_busy_keeps_nobody_else_from_being_asked_about(
    proxied: Proxied,
) -> None:
    proxy = proxied(SPEND_GUARD_BREAKER_FAILURES="3")
    proxy.guard.status, proxy.guard.body = 503, {"error": {"type": "account_busy"}}
    for _ in range(10):
        proxy.call("busy")
    proxy.guard.status = 200
    hold = proxy.guard.holds()

    assert proxy.call("another")["metadata"]["spend_logs_metadata"] == {"billing_hold": hold}
    assert proxy.plugin.counted == {"failed_open": 10, "held": 1}


def test_of_calls_at_once_one_tries_whether_the_guard_is_back(proxied: Proxied) -> None:
    proxy = proxied(SPEND_GUARD_BREAKER_FAILURES="1", SPEND_GUARD_BREAKER_SECONDS="5")
    proxy.guard.fault = httpx.ConnectError("away")
    proxy.call()
    proxy.now = 6.0

    proxy.calls_at_once(10)

    assert len(proxy.guard.asked) == 2


def test_plenty_is_believed_for_its_time_and_for_its_account(proxied: Proxied) -> None:
    proxy = proxied(SPEND_GUARD_PLENTY_SECONDS="2")
    proxy.guard.holds(hold=None, plenty=True)
    for _ in range(3):
        proxy.call()
    assert len(proxy.guard.asked) == 1

    proxy.call("another")
    assert len(proxy.guard.asked) == 2
    proxy.now = 2.0
    proxy.call()
    assert len(proxy.guard.asked) == 3


def test_a_call_that_names_a_run_and_no_account_asks_for_the_account_of_the_run(
    proxied: Proxied,
) -> None:
    proxy = proxied()
    proxy.guard.holds(account="acme")
    proxy.call("run-7/2")
    proxy.call("acme")
    proxy.call("", metadata={"user_api_key_hash": "1"})
    asked = [
        (one["account"], one["run_id"], one["attempt"], one.get("account_of_run"))
        for one in proxy.guard.asked
    ]
    assert asked == [
        ("unattributed", "run-7", 2, True),
        ("acme", None, 0, None),
        ("unattributed", None, 0, None),
    ]
    for body in proxy.guard.asked:
        HoldAsk.model_validate(body)


def test_what_is_known_of_a_run_is_believed_for_this_run_alone(proxied: Proxied) -> None:
    proxy = proxied(SPEND_GUARD_PLENTY_SECONDS="2")
    proxy.guard.holds(hold=None, plenty=True, kind="prepaid", account="acme")
    proxy.call("run-7/2")
    proxy.call("run-7/2")
    assert len(proxy.guard.asked) == 1
    proxy.call("run-7/3")
    proxy.call("acme")
    assert len(proxy.guard.asked) == 3
    proxy.now = 3.0
    proxy.guard.fault = httpx.ConnectError("")
    proxy.refused("run-7/2")
    proxy.call("run-8/0")


def test_a_refusal_names_the_account_that_cannot_pay(proxied: Proxied) -> None:
    proxy = proxied()
    proxy.guard.status = 402
    proxy.guard.body = {"error": {"account": "acme", "required": 5, "available": 3}}
    assert proxy.refused("run-7/2").startswith("Account 'acme' has not enough credit")


def test_a_call_that_reached_no_model_releases_its_hold_once(proxied: Proxied) -> None:
    proxy = proxied()
    hold = proxy.guard.holds()
    request = proxy.call()

    proxy.failed(request)
    proxy.failed(request)

    assert proxy.guard.released == [hold]


def test_a_call_that_reached_a_model_keeps_its_hold(proxied: Proxied) -> None:
    proxy = proxied()
    proxy.guard.holds()
    request = proxy.call()
    request["metadata"] |= {"deployment": "openai/priced"}

    proxy.failed(request)

    assert proxy.guard.released == []


def test_a_hold_that_this_proxy_did_not_make_is_not_released(proxied: Proxied) -> None:
    """A request that is refused at the door carries what its client wrote."""
    proxy = proxied()
    stranger = str(uuid.uuid4())

    proxy.failed({"metadata": {"spend_logs_metadata": {"billing_hold": stranger}}})

    assert proxy.guard.released == []
    assert not proxy.plugin.counted


@pytest.mark.parametrize(
    ("request_", "allowed", "answers", "prices"),
    [
        ({"max_tokens": 100}, 100, 1, CHEAP),
        ({"max_tokens": 100, "n": 3}, 100, 3, CHEAP),
        ({"max_tokens": 100, "n": 2, "best_of": 5}, 100, 5, CHEAP),
        ({"max_tokens": 10, "max_completion_tokens": 200}, 200, 1, CHEAP),
        ({"max_output_tokens": 50}, 50, 1, CHEAP),
        # No longer than the model answers, whatever is asked for.
        ({"max_tokens": 10**30}, 1_000, 1, CHEAP),
        ({}, None, 1, CHEAP),
        ({"max_tokens": "10", "n": -1}, 10, 1, CHEAP),
        ({"max_tokens": 10, "n": 10**9}, 10, 128, CHEAP),
        # Of deployments at several prices the dearest.
        ({"max_tokens": 10, "model": "mixed"}, 10, 1, DEAR),
        ({"max_tokens": 10, "model": "openai/dear"}, 10, 1, DEAR),
        ({"max_tokens": 10, "model": "own"}, 10, 1, ("0.000002", "0.000008")),
        ({"max_tokens": 10, "model": "openai/priced"}, 10, 1, CHEAP),
        ({"max_tokens": 995, "model": "unpriced"}, 995, 1, (None, None)),
        ({"max_tokens": 10**7, "model": "ruinous"}, 10**6, 1, (None, "999")),
        ({"model": "nobody-knows"}, None, 1, (None, None)),
    ],
)
def test_the_guard_is_told_what_it_estimates_a_call_by(
    proxied: Proxied,
    request_: dict[str, Any],
    allowed: int | None,
    answers: int,
    prices: tuple[str | None, str | None],
) -> None:
    proxy = proxied()

    proxy.call(messages=[{"role": "user", "content": "Hello there"}], **request_)

    (asked,) = proxy.guard.asked
    assert asked["model"] == request_.get("model", "cheap")
    assert asked["estimate"] == {
        # Two words and the two names of the message's fields, and its role.
        "prompt_tokens": 5,
        "max_tokens": allowed,
        "n": answers,
        "input_price_usd": prices[0],
        "output_price_usd": prices[1],
    }
    HoldAsk.model_validate(asked)


def test_an_embedding_has_no_answer_of_tokens(proxied: Proxied) -> None:
    proxy = proxied()

    proxy.call(messages=[], input="Hello", call_type="aembedding")

    assert proxy.guard.asked[0]["estimate"]["max_tokens"] == 0


def test_a_long_prompt_is_estimated_by_its_length(proxied: Proxied) -> None:
    proxy = proxied()

    proxy.call(messages=[], prompt="word " * 60_000)
    proxy.call(messages=[], prompt="ä" * 60_000)

    assert [asked["estimate"]["prompt_tokens"] for asked in proxy.guard.asked] == [100_000, 40_000]


@pytest.mark.parametrize(
    "sent",
    [
        {"contents": [{"parts": [{"text": "word " * 30}]}]},
        {"systemInstruction": {"parts": [{"text": "word " * 30}]}},
        {"query": "word", "documents": ["word " * 29]},
        {"response_format": {"json_schema": {"description": "word " * 30}}},
    ],
)
def test_whatever_a_model_reads_counts(proxied: Proxied, sent: dict[str, Any]) -> None:
    proxy = proxied()

    proxy.call(**sent)

    assert proxy.guard.asked[0]["estimate"]["prompt_tokens"] >= 30


def test_a_picture_counts_as_one_and_not_by_its_length(proxied: Proxied) -> None:
    proxy = proxied()
    url = f"data:image/png;base64,{'A' * 100_000}"
    content = [{"type": "image_url", "image_url": {"url": url}}]

    proxy.call(messages=[{"role": "user", "content": content}])

    assert 2_000 <= proxy.guard.asked[0]["estimate"]["prompt_tokens"] < 2_020


def test_a_document_of_plain_text_counts_by_its_length(proxied: Proxied) -> None:
    proxy = proxied()
    source = {"type": "text", "media_type": "text/plain", "data": "word " * 60_000}

    proxy.call(messages=[{"role": "user", "content": [{"type": "document", "source": source}]}])

    assert proxy.guard.asked[0]["estimate"]["prompt_tokens"] >= 100_000


def test_tokens_that_are_sent_by_their_numbers_count(proxied: Proxied) -> None:
    proxy = proxied()

    proxy.call(messages=[], input=[[1, 2, 3], [4, 5]])

    assert proxy.guard.asked[0]["estimate"]["prompt_tokens"] == 5


@pytest.mark.parametrize("model", ["free-1", "gratis"])
def test_a_model_that_costs_nothing_is_not_asked_about(proxied: Proxied, model: str) -> None:
    proxy = proxied(BILLING_FREE_MODELS="free-*, other")

    proxy.call(model=model)

    assert proxy.guard.asked == []
    assert proxy.plugin.counted["free"] == 1


@pytest.mark.parametrize(
    "named",
    [
        {"model": "free-1", "fallbacks": ["free-2", "mixed"]},
        {"model": "gratis", "fallbacks": [{"model": "mixed", "messages": []}]},
        {"model": "gratis", "context_window_fallbacks": [{"gratis": ["mixed"]}]},
        {"model": "cheap", "fallbacks": [{"model": "gratis", "fallbacks": ["mixed"]}]},
        {"model": "gratis", "router_settings_override": {"fallbacks": ["mixed"]}},
        {"model": "mixed", "content_policy_fallbacks": {"odd": 7}},
        # LiteLLM looks for one model of this name.
        {"model": "free-1,mixed", "call_type": "aresponses"},
    ],
)
def test_a_call_is_asked_about_as_the_dearest_model_that_its_client_names(
    proxied: Proxied, named: dict[str, Any]
) -> None:
    """A model that is free could fail on purpose, and its fallback be called without credit."""
    proxy = proxied(BILLING_FREE_MODELS="free-*")

    proxy.call(max_tokens=10, **named)

    (asked,) = proxy.guard.asked
    assert asked["model"] == "mixed"


@pytest.mark.parametrize("model", ["free-1,mixed", "cheap,cheap", "mixed,", "cheap, gratis"])
@pytest.mark.parametrize("kind", ["prepaid", "postpaid"])
@pytest.mark.parametrize("call_type", ["acompletion", "completion"])
def test_a_chat_that_names_several_models_is_refused(
    proxied: Proxied, call_type: str, kind: str, model: str
) -> None:
    """LiteLLM makes a call of each, and reports one of them."""
    proxy = proxied(BILLING_FREE_MODELS="free-*")
    proxy.guard.holds(kind=kind, plenty=kind == "postpaid")
    proxy.call()

    refusal = proxy.refused(model=model, call_type=call_type)

    assert refusal.endswith("Send one request for each model.")
    assert len(proxy.guard.asked) == 1
    assert proxy.plugin.counted["refused"] == 1


def test_several_models_that_are_all_free_may_be_named_at_once(proxied: Proxied) -> None:
    proxy = proxied(BILLING_FREE_MODELS="free-*", SPEND_GUARD_FAIL="closed")

    assert proxy.call(model="free-1,gratis")["model"] == "free-1,gratis"
    assert proxy.guard.asked == []


def test_a_chat_that_names_several_models_is_refused_where_the_guard_is_away(
    proxied: Proxied,
) -> None:
    proxy = proxied(SPEND_GUARD_FAIL="open")
    proxy.guard.fault = httpx.ConnectError("away")

    assert "several models" in proxy.refused(model="cheap,mixed")


def test_a_call_that_names_no_end_of_models_is_refused(proxied: Proxied) -> None:
    proxy = proxied(BILLING_FREE_MODELS="free-*")
    names = [f"free-{number}" for number in range(50)]

    assert "50 models at most" in proxy.refused(model="free-1", fallbacks=[*names, "mixed"])
    assert proxy.guard.asked == []


def test_what_a_client_writes_cannot_make_the_question_unreadable(proxied: Proxied) -> None:
    proxy = proxied()
    hold = proxy.guard.holds()

    data = proxy.call(
        "\ud800" * 3_000,
        litellm_call_id="\x00" * 3_000,
        metadata={"spend_logs_metadata": {"run_id": "\udfff", "attempt": 10**40}},
    )

    assert data["metadata"]["spend_logs_metadata"]["billing_hold"] == hold
    (asked,) = proxy.guard.asked
    assert max(len(str(value)) for value in asked.values()) < 300
    HoldAsk.model_validate(asked)
    assert (asked["run_id"], asked["attempt"]) == ("\ufffd", 0)
