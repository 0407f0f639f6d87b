"""A real LiteLLM proxy before the reconciler, and before the server that stands in for one.

The proxy has no database, as its database engine cannot be had everywhere: it says so, and its
callbacks fill the server. LITELLM_VERSIONS names versions, as for the system ring.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from demo.spend_log_table import SpendLogTable
from reconciler.answers import NoDatabaseError
from reconciler.proxy import Patience, Proxy
from reconciler.reposting import Unidentified, callback_of, key_of
from reconciler.row import SpendLog
from reconciler.spend_logs import SpendLogs, Window
from schemas.reader import read_callback
from tests.clients import fetching
from tests.doubles.spend_log_server import KEY, SpendLogServer, serving
from tests.observers.deployment import Deployment
from tests.processes.proxies import RunningProxy, pinned_versions, running_proxy
from tests.waiting import NET_SECONDS, eventually

ASKED: Final = os.environ.get("LITELLM_VERSIONS") or "1.81.12"
NAMED: Final = pinned_versions() if ASKED == "all" else ASKED.split(",")
VERSIONS: Final = [version for version in NAMED if version != "locked"]
FORMER: Final = frozenset({"1.80.7", "1.81.12"})
"""Releases whose callbacks have no call id."""
CALLBACK_SECONDS: Final = 180.0
PATIENCE: Final = Patience(NET_SECONDS, tries=1, longest_pause=1.0, answer_bytes=10**7)
# As in the system ring: the proxy's interpreter was seen to crash.
pytestmark = pytest.mark.flaky(
    reruns=2, only_rerun=["RemoteProtocolError", "ConnectError", "ReadError"]
)


@pytest.fixture
def server() -> Iterator[SpendLogServer]:
    """A spend log without rows."""
    with serving(SpendLogTable()) as server:
        yield server


@pytest.fixture(params=VERSIONS)
def proxy(
    request: pytest.FixtureRequest, server: SpendLogServer, tmp_path: Path
) -> Iterator[RunningProxy]:
    """A proxy that posts its callbacks to the server."""
    deployment = Deployment(server.url, "", "", "token", "", "")
    with running_proxy(request.param, deployment, tmp_path) as proxy:
        yield proxy


def rows_at(url: str, key: str) -> list[SpendLog]:
    """What a proxy has of the last hour and the next."""
    now, hour = datetime.now(UTC), timedelta(hours=1)
    with Proxy(url, lambda: key, PATIENCE) as proxy:
        pages = SpendLogs(proxy, 100).pages(Window(now - hour, now + hour))
        return [row for page in pages for row in page.rows]


def test_calls_of_a_proxy_are_read_as_rows_and_its_own_lack_of_a_database_is_said(
    server: SpendLogServer, proxy: RunningProxy, request: pytest.FixtureRequest
) -> None:
    version = request.node.callspec.params["proxy"]
    call_ids = set[str]()

    def all_of_them() -> list[SpendLog]:
        rows = rows_at(server.url, KEY)
        return rows if len(rows) == len(call_ids) else []

    for streamed in (False, True):
        answer = fetching.post(
            f"{proxy.url}/v1/chat/completions",
            headers={"Authorization": f"Bearer {proxy.key}"},
            json={
                "model": "real-custom",
                "stream": streamed,
                "user": "acme",
                "messages": [{"role": "user", "content": "Say something short."}],
            },
        )
        assert answer.is_success, answer.text
        call_ids.add(answer.headers["x-litellm-call-id"])
        # One by one: up to 1.106 a proxy loses what comes while it sends.
        rows = eventually(all_of_them, "a row of each call", CALLBACK_SECONDS)
    for key in (proxy.key, "sk-of-nobody"):
        with pytest.raises(NoDatabaseError, match="DATABASE_URL"):
            rows_at(proxy.url, key)

    assert {row.end_user for row in rows} == {"acme"}
    assert {row.model_group for row in rows} == {"real-custom"}
    assert all(row.spend for row in rows)
    if version in FORMER:
        assert {key_of(row) for row in rows} == {Unidentified.NO_CALL_ID}
    else:
        assert {row.litellm_call_id for row in rows} == call_ids
        keys = {read_callback(callback_of(row)).identity.call_key for row in rows}
        assert keys == {key_of(row) for row in rows}
