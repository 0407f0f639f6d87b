"""A real LiteLLM proxy that is killed with callbacks in its queue, and the reconciler behind it.

The proxy has no database, as its database engine cannot be had everywhere: a logger in it writes
each row, before the callback is sent, to what stands in for the spend log. LITELLM_VERSIONS names
versions, as for the system ring.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import psycopg
import pytest

from demo.calls import HELD
from demo.proxy import ROW_WRITER
from demo.spend_log import CALLBACKS
from tests.clients import fetching
from tests.integration.test_spend_log_of_a_proxy import FORMER, VERSIONS
from tests.observers.deployment import Deployment
from tests.processes.gateway import TOKEN
from tests.processes.proxies import RunningProxy, running_proxy
from tests.processes.reconciling import Reconciling
from tests.waiting import eventually

ARRIVED: Final = 3
QUEUED: Final = 30
CALLBACK_SECONDS: Final = 180.0
# As in the system ring: the proxy's interpreter was seen to crash.
pytestmark = pytest.mark.flaky(
    reruns=2, only_rerun=["RemoteProtocolError", "ConnectError", "ReadError"]
)


@pytest.fixture(params=VERSIONS)
def proxy(
    request: pytest.FixtureRequest, installation: Reconciling, tmp_path: Path
) -> Iterator[RunningProxy]:
    """A proxy that calls back to the gateway, with a spend log."""
    deployment = Deployment(installation.gateway.url, "", "", TOKEN, "", "")
    rows = {"SPEND_LOG_CALLBACKS": f"{installation.log.url}{CALLBACKS}", "SPEND_LOG_HOLDS": HELD}
    with running_proxy(request.param, deployment, tmp_path, ROW_WRITER, rows) as proxy:
        yield proxy


def call(proxy: RunningProxy, number: int) -> str:
    """Make a call, every other one streamed; its id."""
    answer = fetching.post(
        f"{proxy.url}/v1/chat/completions",
        headers={"Authorization": f"Bearer {proxy.key}"},
        json={
            "model": "real-custom",
            "stream": number % 2 == 1,
            "user": "acme",
            "messages": [{"role": "user", "content": f"Say something short, {number}."}],
        },
    )
    assert answer.is_success, answer.text
    return str(answer.headers["x-litellm-call-id"])


def rows(installation: Reconciling) -> int:
    """How many rows the spend log has."""
    now, day = datetime.now(UTC), timedelta(days=1)
    asked = {
        "start_date": f"{now - day:%Y-%m-%d %H:%M:%S}",
        "end_date": f"{now + day:%Y-%m-%d %H:%M:%S}",
    }
    return int(installation.table.answer("/spend/logs/v2", asked).body["total"])


def unidentified(installation: Reconciling) -> int:
    """How many calls are open, as their rows do not tell which they are."""
    with psycopg.connect(installation.consuming.database_url) as connection:
        query = (
            "SELECT count(*) FROM billing.reconciler_findings"
            " WHERE closed_at IS NULL AND verdict = 'unidentified'"
        )
        row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def test_NOTHING_VANISHES_when_a_proxy_is_killed_with_callbacks_in_its_queue(
    installation: Reconciling, proxy: RunningProxy, request: pytest.FixtureRequest
) -> None:
    """After one reconcile every call has exactly one receipt or, of old releases, one open item."""
    began = datetime.now(UTC) - timedelta(seconds=1)
    receipts = installation.consuming.tables.receipts
    ids = list[str]()
    for number in range(ARRIVED):
        # One by one: up to 1.106 a proxy loses what comes while it sends.
        ids.append(call(proxy, number))
        eventually(lambda: len(receipts()) == len(ids), "the receipt", CALLBACK_SECONDS)
    installation.gateway.server.stop()
    ids += [call(proxy, ARRIVED + number) for number in range(QUEUED)]
    eventually(lambda: rows(installation) == len(ids), "the rows of all calls", CALLBACK_SECONDS)
    assert proxy.server is not None
    proxy.server.kill()
    installation.start_gateway()
    assert len(receipts()) == ARRIVED

    told = installation.told("once")
    assert told["rows"] == len(ids)
    former = request.node.callspec.params["proxy"] in FORMER
    assert told["reposted"] == (0 if former else QUEUED)
    eventually(
        lambda: len(receipts()) + unidentified(installation) == len(ids), "one answer to each call"
    )
    found = Counter(row["litellm_call_id"] for row in receipts())
    assert found == ({None: ARRIVED} if former else Counter(ids))

    until = datetime.now(UTC) + timedelta(seconds=1)
    period = ("--from", began.isoformat(), "--to", until.isoformat())
    audit = installation.told("audit", *period, code=int(former))
    assert (audit["balanced"], audit["faults"]) == (not former, QUEUED if former else 0)
    assert audit["lines"][0]["what"] == "receipts"
    assert audit["lines"][0]["difference_usd"] == "0"
