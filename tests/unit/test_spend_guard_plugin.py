"""The plugin of the spend guard without LiteLLM: its rules, its bounds, and what it does alone."""

import asyncio
import json
import re
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final

import httpx
import pytest
from fastapi import HTTPException
from hypothesis import given, settings
from hypothesis import strategies as st

from charging.account import Accounts, payer
from charging.settings import ChargingRules
from schemas.callback import Callback, ContractError, Metadata, RequesterHeaders
from schemas.identity import identity_of
from schemas.text import identifier
from tests.doubles.litellm_stub import ENVIRONMENT, PLUGIN, Router, caller, loaded

SESSION: Final = f"user_{'0' * 64}_account_1-2_session_{'a' * 36}"
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
    "ruinous": [{"litellm_params": {"model": "x", "output_cost_per_token": 1}}],
    "openai/dear": [{"litellm_params": {"model": "openai/*"}}],
    "unpriced": [{"litellm_params": {"model": "openai/unpriced"}}],
}
FIELDS: Final = tuple(ChargingRules.model_fields["billing_account_from"].default)
ODD: Final = (
    *("", " ", "acme", "run-1/2", "run-1/1234567890", "run/x", "/1", "default_user_id", SESSION),
    *('{"user_id": "x"}', '["x"]', '"{', "[acme]", "{acme}", " acme", "a\x00b", "x" * 2_000),
    f"{'x' * 200}~sha256-{'0' * 64}",
)
texts = st.one_of(
    st.sampled_from(ODD),
    st.sampled_from(ODD),
    st.none(),
    st.text(max_size=12),
    st.text(alphabet="{}[]\"'/ 12ab", max_size=8),
)
scalars = st.one_of(
    texts,
    st.sampled_from([7, 7.0, -0.0, 0.5, 1e16, 10**9, 10**64, "7.0", "2147483648"]),
    st.integers(),
    st.booleans(),
    st.floats(),
    st.lists(st.integers(), max_size=1),
)


@pytest.fixture(scope="module")
def plugin() -> Iterator[Any]:
    """The plugin's module."""
    with loaded(PRICES, ROUTER) as module:
        yield module


PLUGIN_FIELDS: Final = (
    "user_api_key_alias",
    "user_api_key_end_user_id",
    "user_api_key_hash",
    "user_api_key_org_id",
    "user_api_key_project_id",
    "user_api_key_team_id",
    "user_api_key_user_id",
)


@settings(max_examples=500, deadline=None)
@given(
    end_user=texts,
    header=texts,
    known=st.fixed_dictionaries(dict.fromkeys(PLUGIN_FIELDS, texts)),
    order=st.one_of(
        st.just(FIELDS),
        st.permutations(["end_user", "x-litellm-end-user-id", *PLUGIN_FIELDS]).map(tuple),
    ),
)
def test_the_account_that_is_asked_about_is_the_one_that_is_charged(
    plugin: Any,  # noqa: ANN401 - a module that is loaded from its file
    end_user: str | None,
    header: str | None,
    known: dict[str, Any],
    order: tuple[str, ...],
) -> None:
    rules = plugin.settings_of({**ENVIRONMENT, "BILLING_ACCOUNT_FROM": ",".join(order)})
    names = plugin.ACCOUNT_FIELDS
    known["user_api_key_end_user_id"] = end_user  # one value, under two names
    asking = caller(**{names[field]: value for field, value in known.items()})
    data = {"proxy_server_request": {"headers": {"x-litellm-end-user-id": header}}}

    asked = plugin.account_of(plugin.named_by(asking, data), rules)

    metadata = Metadata(**known, requester_custom_headers=RequesterHeaders(end_user_id=header))
    callback = Callback(status="success", end_user=end_user, metadata=metadata)
    accounts = Accounts(fields=order, internal="internal", unattributed="unattributed")
    charged = payer(callback, metadata, accounts).account
    assert asked == identifier(charged or "unattributed")


@settings(max_examples=500, deadline=None)
@given(
    said=st.one_of(
        scalars,
        st.fixed_dictionaries({}, optional={"run_id": scalars, "attempt": scalars}),
        st.fixed_dictionaries({}, optional={"run_id": texts, "attempt": st.integers()}).map(
            json.dumps
        ),
    ),
    end_user=texts,
)
def test_the_run_that_is_named_is_the_one_of_the_receipt(
    plugin: Any,  # noqa: ANN401 - as above
    said: Any,  # noqa: ANN401 - a client writes anything
    end_user: str | None,
) -> None:
    metadata = Metadata(spend_logs_metadata=said)
    callback = Callback(status="success", id="1", end_user=end_user, metadata=metadata)

    found = plugin.run_of(said, end_user)

    try:
        of_receipt = identity_of(callback)
    except ContractError:
        return
    assert found.id == (of_receipt.run_id if of_receipt.attributed else None)
    assert found.attempt == of_receipt.attempt


def test_the_defaults_are_those_of_the_receipts(plugin: Any) -> None:  # noqa: ANN401 - as above
    found = plugin.settings_of(ENVIRONMENT)
    rules = ChargingRules(_env_file=None)

    assert found.account_from == rules.billing_account_from
    assert found.unattributed == rules.billing_unattributed_account


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SPEND_GUARD_URL", ""),
        ("SPEND_GUARD_TOKEN", " "),
        ("SPEND_GUARD_FAIL", "maybe"),
        ("SPEND_GUARD_TIMEOUT_MS", "0"),
        ("SPEND_GUARD_TIMEOUT_MS", "soon"),
        ("SPEND_GUARD_PLENTY_SECONDS", "-1"),
        ("SPEND_GUARD_ESTIMATED_USD_PER_1K_TOKENS", "NaN"),
        ("BILLING_ACCOUNT_FROM", "end_user,user_api_key_email"),
    ],
)
def test_a_wrong_setting_stops_the_start_and_is_named(
    plugin: Any,  # noqa: ANN401 - as above
    name: str,
    text: str,
) -> None:
    with pytest.raises(ValueError, match=name):
        plugin.settings_of({**ENVIRONMENT, name: text})


def test_the_page_has_every_setting_of_the_plugin() -> None:
    read = set(re.findall(r'"((?:SPEND_GUARD|BILLING)_[A-Z0-9_]+)"', PLUGIN.read_text()))
    page = (PLUGIN.parents[2] / "docs" / "litellm.md").read_text()

    assert len(read) > 10
    assert {name for name in read if f"`{name}`" not in page} == set()


class Guard:
    """Answers the plugin in place of the guard; `fault` is raised instead of an answer."""

    def __init__(self) -> None:
        self.status = 200
        self.body: Any = {"hold": None, "kind": "postpaid", "plenty": False}
        self.fault: Exception | None = None
        self.asked: list[dict[str, Any]] = []
        self.released: list[str] = []

    def holds(self, **changed: object) -> str:
        """Answer with a hold from now on."""
        hold = str(uuid.uuid4())
        self.status = 200
        self.body = {"hold": hold, "kind": "prepaid", "plenty": False, **changed}
        return hold

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/release"):
            self.released.append(request.url.path.split("/")[3])
            return httpx.Response(200, json={})
        self.asked.append(json.loads(request.content))
        if self.fault is not None:
            raise self.fault
        return httpx.Response(self.status, json=self.body)


class Proxy:
    """Calls the plugin as a proxy does; `now` is its clock."""

    def __init__(self, plugin: Any, **settings: str) -> None:  # noqa: ANN401 - as above
        self.now, self.guard = 0.0, Guard()
        self.plugin = plugin.SpendGuard(
            plugin.settings_of({**ENVIRONMENT, **settings}),
            clock=lambda: self.now,
            transport=httpx.MockTransport(self.guard),
        )
        self.loop = asyncio.new_event_loop()

    def call(self, account: str = "acme", **data: object) -> dict[str, Any]:
        """Let the plugin look at a request; what it became. Raises `HTTPException`."""
        request: dict[str, Any] = {
            "model": "cheap",
            "messages": [],
            "litellm_call_id": "call",
            "metadata": {},
        }
        request |= data
        if "litellm_metadata" not in request:
            request["metadata"] = {"user_api_key_hash": "1", **request["metadata"]}
        return dict(self.loop.run_until_complete(self._hook(account, request)))

    def calls_at_once(self, count: int) -> None:
        """Let the plugin look at several requests of one account."""

        async def all_of_them() -> None:
            requests = [{"model": "cheap", "messages": []} for _ in range(count)]
            await asyncio.gather(*(self._hook("acme", request) for request in requests))

        self.loop.run_until_complete(all_of_them())

    async def _hook(self, account: str, request: dict[str, Any]) -> Any:  # noqa: ANN401 - LiteLLM's
        asking = caller(end_user_id=account)
        return await self.plugin.async_pre_call_hook(asking, None, request, "acompletion")

    def failed(self, request: dict[str, Any]) -> None:
        """Tell the plugin that a request failed, and let it do what follows."""

        async def told() -> None:
            await self.plugin.async_post_call_failure_hook(request, ValueError(), None)
            await asyncio.gather(*self.plugin._releases)  # noqa: SLF001 - they are under way

        self.loop.run_until_complete(told())

    def refused(self, account: str = "acme", **data: object) -> str:
        """Make a call that is refused; the text of its refusal."""
        with pytest.raises(HTTPException) as refusal:
            self.call(account, **data)
        assert refusal.value.status_code == httpx.codes.PAYMENT_REQUIRED
        return refusal.value.detail


@pytest.fixture
def proxied(plugin: Any) -> Iterator[Callable[..., Proxy]]:  # noqa: ANN401 - as above
    """Makes proxies with settings."""
    made = list[Proxy]()

    def make(**settings: str) -> Proxy:
        made.append(Proxy(plugin, **settings))
        return made[-1]

    yield make
    for proxy in made:
        proxy.loop.run_until_complete(proxy.plugin._connection().aclose())  # noqa: SLF001 - it has no end of its own
        proxy.loop.close()


Proxied = Callable[..., Proxy]


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
    ("status", "body"), [(401, {}), (422, {}), (503, {}), (200, {"hold": "x"}), (200, [])]
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
    ("request_", "prompt", "answer", "usd"),
    [
        # Two words and the two names of the message's fields, and its role.
        ({"max_tokens": 100}, 5, 100, "0.00006075"),
        ({"max_tokens": 100, "n": 3}, 5, 300, "0.00018075"),
        ({"max_tokens": 10, "max_completion_tokens": 200}, 5, 200, "0.00012075"),
        ({"max_output_tokens": 50}, 5, 50, "0.00003075"),
        # No longer than the model answers, whatever is asked for, or nothing is.
        ({"max_tokens": 10**30}, 5, 1_000, "0.00060075"),
        ({}, 5, 1_000, "0.00060075"),
        ({"max_tokens": "10", "n": -1}, 5, 10, "0.00000675"),
        ({"max_tokens": 10, "model": "mixed"}, 5, 10, "0.00035"),
        ({"max_tokens": 10, "model": "openai/dear"}, 5, 10, "0.00035"),
        ({"max_tokens": 10, "model": "own"}, 5, 10, "0.00009"),
        ({"max_tokens": 10, "model": "openai/priced"}, 5, 10, "0.00000675"),
        # Without a price: 0.01 USD for a thousand tokens.
        ({"max_tokens": 995, "model": "unpriced"}, 5, 995, "0.01"),
        ({"max_tokens": 10**6, "n": 128, "model": "ruinous"}, 5, 128_000_000, "999999"),
        ({"model": "nobody-knows"}, 5, 4_096, "0.04101"),
    ],
)
def test_what_is_asked_for_is_the_most_that_the_call_may_cost(
    proxied: Proxied, request_: dict[str, Any], prompt: int, answer: int, usd: str
) -> None:
    proxy = proxied()

    proxy.call(messages=[{"role": "user", "content": "Hello there"}], **request_)

    (asked,) = proxy.guard.asked
    assert (asked["prompt_tokens"], asked["max_tokens"]) == (prompt, answer)
    assert Decimal(asked["amount_usd"]) == Decimal(usd)
    assert "e" not in asked["amount_usd"].lower()


def test_a_long_prompt_is_estimated_by_its_length(proxied: Proxied) -> None:
    proxy = proxied()

    proxy.call(messages=[], prompt="word " * 60_000)
    proxy.call(messages=[], prompt="ä" * 60_000)

    assert [asked["prompt_tokens"] for asked in proxy.guard.asked] == [100_000, 40_000]


def test_a_picture_counts_as_one_and_not_by_its_length(proxied: Proxied) -> None:
    proxy = proxied()
    url = f"data:image/png;base64,{'A' * 100_000}"
    content = [{"type": "image_url", "image_url": {"url": url}}]

    proxy.call(messages=[{"role": "user", "content": content}])

    assert 2_000 <= proxy.guard.asked[0]["prompt_tokens"] < 2_020


def test_tokens_that_are_sent_by_their_numbers_count(proxied: Proxied) -> None:
    proxy = proxied()

    proxy.call(messages=[], input=[[1, 2, 3], [4, 5]])

    assert proxy.guard.asked[0]["prompt_tokens"] == 5


@pytest.mark.parametrize("model", ["free-1", "gratis"])
def test_a_model_that_costs_nothing_is_not_asked_about(proxied: Proxied, model: str) -> None:
    proxy = proxied(BILLING_FREE_MODELS="free-*, other")

    proxy.call(model=model)

    assert proxy.guard.asked == []
    assert proxy.plugin.counted["free"] == 1


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
    assert (asked["run_id"], asked["attempt"]) == ("\ufffd", 0)
