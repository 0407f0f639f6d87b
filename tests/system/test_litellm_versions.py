"""Proxies of older versions of LiteLLM: the same calls have the same outcomes.

The locked version, the newest, is the one of the deployment; `test_litellm.py` looks at it closely.
LITELLM_VERSIONS names others, `all` those that are pinned: `make litellm-versions`.
"""

import json
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from tests.clients import fetching
from tests.inputs.captures import Calls
from tests.observers.deployment import Deployment
from tests.observers.ledger import Ledger, credits_for
from tests.observers.topics import TopicRecord, Topics
from tests.processes.proxies import RunningProxy, pinned_versions, running_proxy
from tests.waiting import eventually

ASKED: Final = os.environ.get("LITELLM_VERSIONS") or "1.81.12"
VERSIONS: Final = [*pinned_versions(), "locked"] if ASKED == "all" else ASKED.split(",")
CALLBACKS: Final = "billing.callbacks.v1"
CALLBACK_SECONDS: Final = 180.0
SPEND_LOGS: Final = "x-litellm-spend-logs-metadata"
# By the end user that the call names: model, streamed, metadata instead of a run, outcome.
CALLS: Final[dict[str, tuple[str, bool, str, str]]] = {
    "plain": ("real-gpt-4o-mini", False, "", "usage"),
    "streamed": ("real-gpt-4o-mini", True, "", "usage"),
    "tiny": ("real-tiny", False, "", "usage"),
    "infinity": ("real-tiny", True, '{"a": 1e400}', "usage"),
    "free": ("real-free", False, "", "free_model"),
    "unpriced": ("real-unpriced", True, "", "suspicious_zero"),
    "failed": ("real-err500", False, "", ""),
}
# As in `test_litellm.py`: the proxy's interpreter was seen to crash.
pytestmark = pytest.mark.flaky(
    reruns=2, only_rerun=["RemoteProtocolError", "ConnectError", "ReadError"]
)


@pytest.fixture(params=VERSIONS)
def proxy(
    request: pytest.FixtureRequest, deployment: Deployment, tmp_path: Path
) -> Iterator[RunningProxy]:
    """A proxy of one version, which posts to the deployment."""
    if request.param == "locked":
        if not deployment.litellm_url:
            pytest.skip("the deployment names no LITELLM_URL and LITELLM_MASTER_KEY")
        yield RunningProxy(deployment.litellm_url, deployment.litellm_key)
        return
    with running_proxy(request.param, deployment, tmp_path) as proxy:
        yield proxy


def make_call(proxy: RunningProxy, user: str, run: str, kind: str) -> None:
    """One call as a client makes it, its whole answer read."""
    model, stream, metadata, outcome = CALLS[kind]
    answer = fetching.post(
        f"{proxy.url}/v1/chat/completions",
        headers={
            "Authorization": f"Bearer {proxy.key}",
            SPEND_LOGS: metadata or json.dumps({"run_id": run, "sub_agent_id": kind}),
        },
        json={
            "model": model,
            "stream": stream,
            "user": user,
            "messages": [{"role": "user", "content": "Say something short."}],
        },
    )
    assert answer.is_success is bool(outcome), answer.text


def callbacks_of(
    topics: Topics, before: dict[int, int], users: list[str]
) -> dict[str, dict[str, Any]]:
    """What the proxy sent, by end user; numbers with a point as they were written."""

    def sent(record: TopicRecord) -> dict[str, Any]:
        callback: dict[str, Any] = json.loads(record.value, parse_float=str)
        return callback

    def all_there() -> dict[str, dict[str, Any]]:
        found = [sent(record) for record in topics.since(CALLBACKS, before)]
        by_user = {str(callback["end_user"]): callback for callback in found}
        return by_user if by_user.keys() >= set(users) else {}

    return eventually(all_there, "a callback of each call", CALLBACK_SECONDS)


def test_every_version_bills_what_its_callbacks_say(
    proxy: RunningProxy, topics: Topics, ledger: Ledger, calls: Calls
) -> None:
    before = topics.ends(CALLBACKS)
    run = calls.name("run")
    users = {f"{calls.name('user')}-{kind}": kind for kind in CALLS}
    callbacks: dict[str, dict[str, Any]] = {}
    for user, kind in users.items():
        make_call(proxy, user, run, kind)
        # One by one: up to 1.106 LiteLLM loses what it is told while it waits for an answer.
        callbacks |= callbacks_of(topics, before, [user])
    topics.wait_until_consumed()

    for user, kind in users.items():
        *_, metadata, outcome = CALLS[kind]
        sent = callbacks[user]["response_cost"]
        receipts = ledger.receipts(billing_account_id=user)
        if outcome in {"usage", "free_model"}:
            (receipt,) = receipts
            assert receipt["charge_reason"] == outcome, kind
            assert Decimal(receipt["cost_text"]) == Decimal(sent), kind
            assert receipt["charged_credits"] == credits_for(sent), kind
            assert bool(metadata) is not (receipt["run_id"] == run), kind
            assert receipt["sub_agent_id"] == (None if metadata else kind)
        else:
            assert receipts == [], kind
    (deferred,) = ledger.deferred(run_id=run)
    assert (deferred["model"], deferred["reason"]) == ("real-unpriced", "suspicious_zero")
    costs = {kind: Decimal(callbacks[user]["response_cost"]) for user, kind in users.items()}
    assert costs["plain"] == Decimal("0.0000036")
    assert costs["tiny"] == Decimal("0.00000125")
    assert costs["streamed"] > 0
    assert costs["infinity"] > 0
