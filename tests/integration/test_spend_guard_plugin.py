"""The plugin of the spend guard in a real LiteLLM proxy, before what stands in for the guard.

LITELLM_VERSIONS names versions, as for the system ring; by default the locked one.
"""

import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from charging.estimate_settings import EstimateRules
from charging.money import charge
from charging.outcomes import Charge
from spend_guard.amounts import Amounts
from spend_guard.messages import HoldAsk
from spend_guard.rates import KnownRates
from tests.clients import fetching
from tests.doubles.guard_server import TOKEN, GuardServer
from tests.doubles.json_server import JsonServer, listening
from tests.doubles.provider_server import ProviderServer
from tests.inputs.callbacks import decided
from tests.observers.deployment import Deployment
from tests.processes.proxies import SAMPLE, RunningProxy, pinned_versions, running_proxy
from tests.waiting import eventually

ASKED: Final = os.environ.get("LITELLM_VERSIONS") or "locked"
TOO_OLD: Final = {"1.80.7"}
"""Knows no end user in a header, and so none whose account these tests could ask for."""
VERSIONS: Final = (
    [one for one in pinned_versions() if one not in TOO_OLD] if ASKED == "all" else ASKED.split(",")
)
LOSES: Final = {"1.81.12", "1.106.12"}
"""Up to 1.106 a proxy loses what it is told while it posts, such as a call's before this one."""
PLUGIN: Final = SAMPLE / "spend_guard.py"
HOOK: Final = Path(__file__).parents[1] / "doubles" / "refusing_hook.py"
CALLBACK_SECONDS: Final = 180.0
SPEND_LOGS: Final = "x-litellm-spend-logs-metadata"
END_USER: Final = "x-litellm-end-user-id"
SPEND: Final = "spend_logs_metadata"
SPOOFED: Final = "11111111-1111-4111-8111-111111111111"
TIMEOUT_MS: Final = 3_000
"""Where the guard does not answer. A proxy's first call alone was seen to take a second of it."""
PATIENT_MS: Final = 60_000
"""Where it does: nothing here is about how soon."""
MESSAGES: Final = [{"role": "user", "content": "Say something short."}]
CALLS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "chat": ("/v1/chat/completions", {"model": "gpt", "messages": MESSAGES}),
    "stream": ("/v1/chat/completions", {"model": "gpt", "messages": MESSAGES, "stream": True}),
    "completion": ("/v1/completions", {"model": "instruct", "prompt": "Say something."}),
    "embedding": ("/v1/embeddings", {"model": "embedding", "input": ["Small paper boats"]}),
    "responses": ("/v1/responses", {"model": "gpt", "input": "Say something short."}),
    "messages": (
        "/v1/messages",
        {"model": "claude", "messages": MESSAGES, "max_tokens": 50},
    ),
}
"""By the name of a call: its route and its body."""
PASSED: Final = ("/anthropic/v1/messages", CALLS["messages"][1] | {"model": "claude-sonnet-4-5"})
FAILING: Final = {
    **dict.fromkeys(CALLS, "failing"),
    "completion": "failing-instruct",
    "embedding": "failing-embedding",
    "messages": "failing-claude",
}
MARGIN_SECONDS: Final = 5.0
BREAKER_FAILURES: Final = 5
# As in the system ring: the proxy's interpreter was seen to crash.
pytestmark = pytest.mark.flaky(
    reruns=2, only_rerun=["RemoteProtocolError", "ConnectError", "ReadError", "LostCallbackError"]
)


class LostCallbackError(Exception):
    """A proxy of a version that loses callbacks has sent fewer than it had calls."""


def model(name: str, provided: str, base: str, **more: object) -> dict[str, Any]:
    """One model of the proxy's configuration."""
    params = {"model": provided, "api_key": "unused", "api_base": f"os.environ/{base}", **more}
    return {"model_name": name, "litellm_params": params}


def sections(*callbacks: str) -> dict[str, Any]:
    """What the proxy's configuration has beside that of the sample."""
    return {
        "model_list": [
            model("gpt", "openai/gpt-4o-mini", "UPSTREAM_API_BASE"),
            model("instruct", "text-completion-openai/gpt-3.5-turbo-instruct", "UPSTREAM_API_BASE"),
            model("embedding", "openai/text-embedding-3-small", "UPSTREAM_API_BASE"),
            model("claude", "anthropic/claude-sonnet-4-5-20250929", "UPSTREAM_URL"),
            model("failing", "openai/gpt-4o-mini-err500", "UPSTREAM_API_BASE"),
            model(
                "failing-instruct", "text-completion-openai/instruct-err500", "UPSTREAM_API_BASE"
            ),
            model("failing-embedding", "openai/embedding-err500", "UPSTREAM_API_BASE"),
            model("failing-claude", "anthropic/claude-err500", "UPSTREAM_URL"),
            model("falls", "openai/gpt-4o-mini-err500", "UPSTREAM_API_BASE"),
            model("free", "openai/gpt-4o-mini", "UPSTREAM_API_BASE"),
            model("free-failing", "openai/gpt-4o-mini-err500", "UPSTREAM_API_BASE"),
            model("unpriced", "openai/acme-9000", "UPSTREAM_API_BASE"),
            model("openai/*", "openai/*", "UPSTREAM_API_BASE"),
        ],
        "router_settings": {
            "num_retries": 0,
            "fallbacks": [{"falls": ["gpt"]}],
            "model_group_alias": {"alias": "gpt"},
        },
        "litellm_settings": {"callbacks": ["refusing_hook.hook", "billing_stream", *callbacks]},
    }


@dataclass(frozen=True)
class Installation:
    """A proxy with the plugin, and what it speaks to."""

    proxy: RunningProxy
    guard: GuardServer
    provider: ProviderServer
    callbacks: JsonServer
    log: Path
    loses: bool

    def call(self, kind: str, account: str, **changed: object) -> httpx.Response:
        """Make a call for an account, and read its whole answer."""
        route, body = CALLS.get(kind, PASSED)
        headers = {"Authorization": f"Bearer {self.proxy.key}"}
        if account:
            headers[END_USER] = account
        spend_logs = changed.pop("spend_logs", None)
        if spend_logs is not None:
            headers[SPEND_LOGS] = json.dumps(spend_logs)
        return fetching.post(f"{self.proxy.url}{route}", headers=headers, json={**body, **changed})

    def callbacks_of(self, account: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait for the callbacks of an account.

        Raises:
            LostCallbackError: the proxy is of a version that loses some, and they have not come.
            TimeoutError: they have not come.
        """

        def arrived() -> list[dict[str, Any]]:
            posts = [one.body for one in self.callbacks.asked]
            found = [one for post in posts for one in post if one and one["end_user"] == account]
            return found if len(found) >= count else []

        try:
            return eventually(arrived, f"{count} callbacks", CALLBACK_SECONDS)
        except TimeoutError as late:
            if self.loses:
                raise LostCallbackError(str(late)) from late
            raise


@contextmanager
def installed(
    version: str, directory: Path, settings: Mapping[str, str], *also: str
) -> Iterator[Installation]:
    """A proxy of a version with the plugin, further settings and further callbacks."""
    guard, provider, callbacks = GuardServer(), ProviderServer(), JsonServer()
    environment = {
        "SPEND_GUARD_URL": guard.url,
        "SPEND_GUARD_TOKEN": TOKEN,
        "SPEND_GUARD_TIMEOUT_MS": str(PATIENT_MS),
        "SPEND_GUARD_PLENTY_SECONDS": "600",
        "BILLING_FREE_MODELS": "fr*",
        "UPSTREAM_URL": provider.url,
        "UPSTREAM_API_BASE": f"{provider.url}/v1",
        "ANTHROPIC_API_BASE": provider.url,
        "ANTHROPIC_API_KEY": "unused",
        **settings,
    }
    shutil.copy(HOOK, directory)
    deployment = Deployment(callbacks.url, "", "", "token", "", "")
    with ExitStack() as stack:
        for server in (guard, provider, callbacks):
            stack.enter_context(listening(server))
        # What hangs goes on before the server is closed.
        stack.callback(guard.goes_on.set)
        proxy = stack.enter_context(
            running_proxy(
                version,
                deployment,
                directory,
                PLUGIN,
                environment,
                instance="guard",
                sections=sections(*also),
            )
        )
        log = directory / "litellm.log"
        yield Installation(proxy, guard, provider, callbacks, log, version in LOSES)


@pytest.fixture(params=VERSIONS, scope="module")
def proxy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """A proxy of each version, with the settings that users start from."""
    with installed(request.param, tmp_path_factory.mktemp("proxy"), {}) as installation:
        yield installation


@pytest.fixture
def account() -> str:
    """An account that nobody else uses."""
    return f"acme-{secrets.token_hex(6)}"


def hold_in(callback: dict[str, Any]) -> object:
    """The hold that comes back with a callback."""
    return (callback["metadata"]["spend_logs_metadata"] or {}).get("billing_hold")


def leaves(said: dict[str, Any]) -> list[object]:
    """The values in an object of objects."""
    parts = [leaves(part) if isinstance(part, dict) else [part] for part in said.values()]
    return [value for part in parts for value in part]


@pytest.mark.parametrize("kind", CALLS)
def test_the_hold_of_a_call_comes_back_with_its_callback(
    proxy: Installation, account: str, kind: str
) -> None:
    said = {"run_id": "run-1", "attempt": 2, "billing_hold": SPOOFED}

    answer = proxy.call(kind, account, spend_logs=said)

    assert answer.is_success, answer.text
    (asked,) = proxy.guard.holds_asked(account)
    assert (asked["run_id"], asked["attempt"]) == ("run-1", 2)
    (callback,) = proxy.callbacks_of(account)
    metadata = callback["metadata"]["spend_logs_metadata"]
    assert metadata == {"run_id": "run-1", "attempt": 2, "billing_hold": proxy.guard.made[account]}


@pytest.mark.parametrize("kind", CALLS)
def test_a_call_without_credit_is_refused_before_the_model_is_asked(
    proxy: Installation, account: str, kind: str
) -> None:
    proxy.guard.refused.add(account)
    before = len(proxy.provider.asked)

    answer = proxy.call(kind, account)

    assert answer.status_code == httpx.codes.PAYMENT_REQUIRED
    message = answer.json()["error"]["message"]
    assert account in message
    assert "may cost 0.0123 USD, and 0.00042 USD are available" in message
    assert len(proxy.provider.asked) == before


def test_a_hold_that_a_client_names_in_its_body_is_overwritten(
    proxy: Installation, account: str
) -> None:
    spoofed = {SPEND: {"billing_hold": SPOOFED, "run_id": "run-1"}}
    for kind, field in (("chat", "metadata"), ("responses", "litellm_metadata")):
        customer = f"{account}-{kind}"

        assert proxy.call(kind, customer, **{field: spoofed}).is_success

        (callback,) = proxy.callbacks_of(customer)
        assert hold_in(callback) == proxy.guard.made[customer]
        assert proxy.guard.holds_asked(customer)[0]["run_id"] == "run-1"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("chat", {"user": "acme-user"}),
        ("responses", {"user": "acme-of-responses"}),
        ("messages", {"metadata": {"user_id": "acme-of-messages"}}),
    ],
)
def test_the_account_that_is_asked_about_is_the_end_user_of_the_callback(
    proxy: Installation, kind: str, said: dict[str, Any]
) -> None:
    assert proxy.call(kind, "", **said).is_success

    (account,) = (str(part) for part in leaves(said))
    assert len(proxy.guard.holds_asked(account)) == 1
    (callback,) = proxy.callbacks_of(account)
    assert hold_in(callback) == proxy.guard.made[account]


def test_a_call_that_names_nobody_is_asked_about_as_unattributed(proxy: Installation) -> None:
    assert proxy.call("chat", "").is_success

    assert proxy.guard.holds_asked("unattributed")


def test_an_account_with_plenty_is_not_asked_about_again_and_names_no_hold(
    proxy: Installation, account: str
) -> None:
    proxy.guard.plenty.add(account)

    for _ in range(3):
        said = {"run_id": "run-1", "billing_hold": SPOOFED}
        assert proxy.call("chat", account, spend_logs=said).is_success

    assert len(proxy.guard.holds_asked(account)) == 1
    for callback in proxy.callbacks_of(account, 3):
        assert callback["metadata"]["spend_logs_metadata"] == {"run_id": "run-1"}


def test_a_fallback_has_the_hold_of_the_call_that_failed(proxy: Installation, account: str) -> None:
    answer = proxy.call("chat", account, model="falls")

    assert answer.is_success, answer.text
    callbacks = proxy.callbacks_of(account, 2)
    assert {callback["status"] for callback in callbacks} == {"failure", "success"}
    assert {hold_in(callback) for callback in callbacks} == {proxy.guard.made[account]}
    assert len(proxy.guard.holds_asked(account)) == 1
    assert proxy.guard.made[account] not in proxy.guard.released()


@pytest.mark.parametrize("kind", CALLS)
def test_a_call_that_a_provider_fails_keeps_its_hold(
    proxy: Installation, account: str, kind: str
) -> None:
    """It may have cost something: its callback tells."""
    answer = proxy.call(kind, account, model=FAILING[kind])

    assert answer.is_server_error, answer.text
    (callback,) = proxy.callbacks_of(account)
    assert hold_in(callback) == proxy.guard.made[account]
    assert proxy.guard.made[account] not in proxy.guard.released()


@pytest.mark.parametrize("kind", CALLS)
def test_the_hold_of_a_call_that_another_hook_refuses_is_released(
    proxy: Installation, kind: str
) -> None:
    answer = proxy.call(kind, "forbidden")

    assert answer.status_code == httpx.codes.BAD_REQUEST
    hold = proxy.guard.made["forbidden"]
    eventually(lambda: hold in proxy.guard.released(), "the release of the hold")


def test_the_hold_of_a_call_of_a_model_that_is_not_there_is_released(
    proxy: Installation, account: str
) -> None:
    answer = proxy.call("chat", account, model="nobody-has-it")

    assert answer.is_client_error
    if account in proxy.guard.made:  # some releases refuse it before any hook
        hold = proxy.guard.made[account]
        eventually(lambda: hold in proxy.guard.released(), "the release of the hold")


def test_a_call_that_is_passed_on_as_it_is_is_refused_without_credit_and_holds_nothing(
    proxy: Installation, account: str
) -> None:
    """Its callback could not bring a hold back, and the provider sees what the client sent."""
    answer = proxy.call("passed", account)

    assert answer.is_success, answer.text
    (asked,) = proxy.guard.holds_asked(account)
    assert asked["call_type"] == "pass_through_endpoint"
    body = json.dumps(proxy.provider.asked[-1].body)
    assert SPEND not in body
    hold = proxy.guard.made[account]
    eventually(lambda: hold in proxy.guard.released(), "the release of the hold")

    proxy.guard.refused.add(account)
    before = len(proxy.provider.asked)
    answer = proxy.call("passed", account)
    assert answer.status_code == httpx.codes.PAYMENT_REQUIRED
    assert account in answer.text
    assert len(proxy.provider.asked) == before


def test_a_free_model_with_a_fallback_that_costs_is_asked_about(
    proxy: Installation, account: str
) -> None:
    said = {"model": "free-failing", "fallbacks": ["gpt"]}

    assert proxy.call("chat", account, **said).is_success

    callbacks = proxy.callbacks_of(account, 2)
    assert {hold_in(callback) for callback in callbacks} == {proxy.guard.made[account]}
    proxy.guard.refused.add(account)
    assert proxy.call("chat", account, **said).status_code == httpx.codes.PAYMENT_REQUIRED


def test_a_free_model_asks_for_nothing(proxy: Installation, account: str) -> None:
    assert proxy.call("chat", account, model="free").is_success

    assert proxy.guard.holds_asked(account) == []


@pytest.mark.parametrize("more", [{}, {"fastest_response": True}, {"stream": True}])
def test_a_request_that_names_several_models_is_refused_before_any_is_asked(
    proxy: Installation, account: str, more: dict[str, Any]
) -> None:
    before = len(proxy.provider.asked)

    answer = proxy.call("chat", account, model="free,gpt", **more)

    assert answer.status_code == httpx.codes.PAYMENT_REQUIRED
    assert "Send one request for each model." in answer.json()["error"]["message"]
    assert len(proxy.provider.asked) == before
    assert proxy.guard.holds_asked(account) == []
    (callback,) = proxy.callbacks_of(account)
    assert hold_in(callback) == "refused"


def test_LiteLLM_reports_one_of_the_calls_of_a_request_that_names_several_models(
    proxy: Installation, account: str
) -> None:
    """Why the plugin refuses such requests: it cannot hold for what is charged to nobody."""
    before = len(proxy.provider.asked)

    assert proxy.call("chat", account, model="free,free,free").is_success

    assert len(proxy.provider.asked) - before == 3
    # What comes behind it has been reported when all of it would have been.
    assert proxy.call("embedding", account).is_success
    kinds = [callback["call_type"] for callback in proxy.callbacks_of(account, 2)]
    assert sorted(kinds) == ["acompletion", "aembedding"]


def test_what_is_asked_for_covers_what_the_call_costs(proxy: Installation, account: str) -> None:
    assert proxy.call("chat", account, max_tokens=100, n=2).is_success

    (asked,) = proxy.guard.holds_asked(account)
    told = HoldAsk.model_validate(asked)
    # The prices of gpt-4o-mini: 0.15 and 0.60 USD for a million tokens.
    assert asked["estimate"] == {
        "prompt_tokens": asked["estimate"]["prompt_tokens"],
        "max_tokens": 100,
        "n": 2,
        "input_price_usd": "0.00000015",
        "output_price_usd": "0.0000006",
    }
    assert asked["litellm_call_id"]
    (callback,) = proxy.callbacks_of(account)
    held = Amounts(KnownRates(), EstimateRules().terms).of(told)
    assert charge(Decimal(str(callback["response_cost"])), Decimal(1))[1] <= held


def test_of_a_model_without_a_price_the_guard_is_told_none(
    proxy: Installation, account: str
) -> None:
    assert proxy.call("chat", account, model="unpriced").is_success

    (asked,) = proxy.guard.holds_asked(account)
    told = asked["estimate"]
    assert told["input_price_usd"] is told["output_price_usd"] is told["max_tokens"] is None
    assert told["prompt_tokens"] > 0


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        *((kind, body["model"]) for kind, (_, body) in CALLS.items()),
        ("chat", "alias"),
        ("chat", "openai/gpt-4o-mini"),
    ],
)
def test_the_model_that_is_asked_about_is_the_model_of_the_receipt(
    proxy: Installation, account: str, kind: str, model: str
) -> None:
    """Rates are learned by the name that receipts have."""
    assert proxy.call(kind, account, model=model).is_success

    (asked,) = proxy.guard.holds_asked(account)
    (callback,) = proxy.callbacks_of(account)
    charged = decided(json.dumps(callback).encode()).decision
    assert isinstance(charged, Charge)
    assert asked["model"] == charged.receipt.model == model


def test_calls_at_once_each_have_a_hold_of_their_own(proxy: Installation, account: str) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: proxy.call("chat", account), range(16)))

    assert all(answer.is_success for answer in answers)
    asked = proxy.guard.holds_asked(account)
    assert len({one["nonce"] for one in asked}) == len(asked) == 16
    holds = [hold_in(callback) for callback in proxy.callbacks_of(account, 16)]
    assert len(set(holds)) == 16


def test_LiteLLM_tells_Prometheus_of_calls_that_the_guard_did_not_decide(
    tmp_path: Path, account: str
) -> None:
    settings = {"SPEND_GUARD_TIMEOUT_MS": str(TIMEOUT_MS)}
    with installed("locked", tmp_path, settings, "prometheus") as proxy:
        assert proxy.call("chat", account).is_success
        proxy.guard.hangs = True
        assert proxy.call("chat", f"{account}-open").is_success
        assert proxy.call("chat", account).status_code == httpx.codes.PAYMENT_REQUIRED
        key = {"Authorization": f"Bearer {proxy.proxy.key}"}
        told = fetching.get(f"{proxy.proxy.url}/metrics/", headers=key).text
        counted = {
            (one.labels["outcome"], one.labels["reason"]): one.value
            for family in text_string_to_metric_families(told)
            for one in family.samples
            if one.name == "billing_spend_guard_calls_total"
            # Holds that came too late are released meanwhile, or not: this guard hangs.
            and not one.labels["outcome"].startswith("release")
        }
    assert counted == {
        ("held", ""): 1,
        ("failed_open", "timeout"): 1,
        ("failed_closed", "timeout"): 1,
    }


@pytest.mark.parametrize(("fail", "status"), [("auto", 200), ("closed", 402)])
def test_a_guard_that_hangs_or_is_away_holds_nobody_up(
    tmp_path: Path, account: str, fail: str, status: int
) -> None:
    settings = {
        "SPEND_GUARD_FAIL": fail,
        "SPEND_GUARD_BREAKER_SECONDS": "1",
        "SPEND_GUARD_TIMEOUT_MS": str(TIMEOUT_MS),
    }
    with installed(VERSIONS[-1], tmp_path, settings) as proxy:
        known = f"{account}-known"
        assert proxy.call("chat", known).is_success
        proxy.guard.hangs = True
        for customer, expected in ((account, status), (known, 402)):
            began = time.monotonic()
            answer = proxy.call("chat", customer)
            assert answer.status_code == expected, answer.text
            assert time.monotonic() - began < TIMEOUT_MS / 1000 + MARGIN_SECONDS
        assert "cannot be checked at the moment" in answer.json()["error"]["message"]
        assert f"The spend guard: failed_{'closed' if status == 402 else 'open'}" in (
            proxy.log.read_text()
        )
        for _ in range(BREAKER_FAILURES):
            proxy.call("chat", account)
        asked = len(proxy.guard.calls_asked())
        began = time.monotonic()
        for _ in range(3):
            assert proxy.call("chat", account).status_code == status
        assert len(proxy.guard.calls_asked()) <= asked + 1, (
            "it is asked although it does not answer"
        )
        proxy.guard.hangs = False
        proxy.guard.goes_on.set()

        def asked_again() -> bool:
            proxy.call("chat", known)
            return len(proxy.guard.holds_asked(known)) > 2

        eventually(asked_again, "the guard to be asked again")
