"""From a call through LiteLLM, plugin and spend guard to the receipt that ends its hold."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg
import pytest

from ledger.receipts import ReceiptWriter
from tests.clients import fetching
from tests.databases.writing import ROLE, write
from tests.doubles.json_server import JsonServer, listening
from tests.doubles.provider_server import ProviderServer
from tests.inputs.callbacks import decided
from tests.observers.credits import unbalanced
from tests.observers.deployment import Deployment
from tests.processes.guarding import TOKEN, SpendGuard
from tests.processes.proxies import SAMPLE, RunningProxy, running_proxy
from tests.waiting import eventually

PLUGIN: Final = SAMPLE / "spend_guard.py"
CLIENTS: Final = 100
AFFORDED: Final = 37
CALL: Final = {
    "model": "gpt",
    "messages": [{"role": "user", "content": "Say something short."}],
    "max_tokens": 50,
}
MODEL: Final = {
    "model_name": "gpt",
    "litellm_params": {
        "model": "openai/gpt-4o-mini",
        "api_key": "unused",
        "api_base": "os.environ/UPSTREAM_API_BASE",
    },
}
CALLBACK_SECONDS: Final = 180.0
# As in the system ring: the proxy's interpreter was seen to crash.
pytestmark = pytest.mark.flaky(
    reruns=2, only_rerun=["RemoteProtocolError", "ConnectError", "ReadError"]
)


@dataclass(frozen=True)
class Guarded:
    """A proxy with the plugin, its guard, what stands in for the provider, and the books."""

    proxy: RunningProxy
    guard: SpendGuard
    provider: ProviderServer
    callbacks: JsonServer
    database_url: str

    def call(self, account: str) -> int:
        """Make a call for an account; its status."""
        headers = {
            "Authorization": f"Bearer {self.proxy.key}",
            "x-litellm-end-user-id": account,
        }
        url = f"{self.proxy.url}/v1/chat/completions"
        return fetching.post(url, headers=headers, json=CALL).status_code

    def hold_of(self, account: str) -> int:
        """The credits that a call is held for."""
        with psycopg.connect(self.database_url) as connection:
            row = connection.execute(
                "SELECT amount FROM billing.credit_holds WHERE billing_account_id = %s", [account]
            ).fetchone()
        assert row
        return int(row[0])

    def callbacks_of(self, account: str, count: int) -> list[dict[str, Any]]:
        """Wait for so many callbacks of an account."""

        def arrived() -> list[dict[str, Any]]:
            posts = [one.body for one in self.callbacks.asked]
            found = [one for post in posts for one in post if one and one["end_user"] == account]
            return found if len(found) >= count else []

        return eventually(arrived, f"{count} callbacks", CALLBACK_SECONDS)


@pytest.fixture
def guarded(migrated_database_url: str, tmp_path: Path) -> Iterator[Guarded]:
    provider, callbacks = ProviderServer(), JsonServer()
    guard = SpendGuard(migrated_database_url, tmp_path)
    environment = {
        "SPEND_GUARD_URL": guard.url,
        "SPEND_GUARD_TOKEN": TOKEN,
        # No answer may be missed for a busy machine's sake: one that is would pass.
        "SPEND_GUARD_TIMEOUT_MS": "30000",
        "UPSTREAM_API_BASE": f"{provider.url}/v1",
    }
    sections = {
        "model_list": [MODEL],
        "router_settings": {"num_retries": 0},
        "litellm_settings": {"callbacks": ["billing_stream"]},
    }
    with ExitStack() as stack:
        for server in (provider, callbacks):
            stack.enter_context(listening(server))
        stack.enter_context(guard.running())
        deployment = Deployment(callbacks.url, "", "", "token", "", "")
        proxy = stack.enter_context(
            running_proxy(
                "locked",
                deployment,
                tmp_path,
                PLUGIN,
                environment,
                instance="guard",
                sections=sections,
            )
        )
        yield Guarded(proxy, guard, provider, callbacks, migrated_database_url)


def test_a_hundred_clients_at_once_spend_what_the_account_has_and_no_more(guarded: Guarded) -> None:
    assert guarded.call("sizer") == httpx.codes.OK
    granted = AFFORDED * guarded.hold_of("sizer")
    assert guarded.guard.post("acme", "order", amount_credits=granted).status_code == 201
    before = len(guarded.provider.asked)

    with ThreadPoolExecutor(CLIENTS) as clients:
        said = Counter(clients.map(guarded.call, ["acme"] * CLIENTS))

    assert said == {
        httpx.codes.OK: AFFORDED,
        httpx.codes.PAYMENT_REQUIRED: CLIENTS - AFFORDED,
    }
    assert len(guarded.provider.asked) - before == AFFORDED
    account = guarded.guard.account("acme").json()
    assert (account["balance"], account["available"]) == (granted, 0)

    sent = guarded.callbacks_of("acme", CLIENTS)
    with closing(ReceiptWriter(guarded.database_url, ROLE)) as ledger:
        records = [decided(json.dumps(one).encode(), offset=at) for at, one in enumerate(sent)]
        outcomes = Counter(write(ledger, *records))
    assert outcomes == {"created usage": AFFORDED, "skipped refused_call": CLIENTS - AFFORDED}
    with psycopg.connect(guarded.database_url) as connection:
        assert unbalanced(connection) == []
        row = connection.execute(
            "SELECT sum(charged_credits)::bigint FROM billing.charge_receipts"
        ).fetchone()
    assert row
    assert row[0] > 0
    account = guarded.guard.account("acme").json()
    assert (account["balance"], account["held"]) == (granted - row[0], 0)
