"""Every room at work, and everything that the dashboards count, for a Prometheus to see."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx
from prometheus_client import CollectorRegistry, start_http_server

from tests.databases import credits as sql
from tests.doubles.asking_proxy import AskingProxy
from tests.doubles.litellm_stub import Router, loaded
from tests.inputs.callbacks import element
from tests.inputs.made_calls import calls
from tests.processes.guarding import SpendGuard
from tests.processes.prometheus import Prometheus
from tests.processes.reconciling import Reconciling

HOUR: Final = timedelta(hours=1)


class Scene:
    """Gateway, consumer, reconciler and spend guard, and a proxy whose own guard is away."""

    def __init__(self, installation: Reconciling, guard: SpendGuard, proxy: AskingProxy) -> None:
        self._installation = installation
        self._guard = guard
        self._proxy = proxy

    def happens(self, round_: int) -> None:
        """Odd callbacks, refusals, lost calls, an amount that differs; holds and refused calls."""
        gateway = self._installation.gateway
        name = f"odd-{round_}"
        odd = [
            element(id=name, litellm_call_id=name, response_cost=0),
            element(id=f"{name}-none", litellm_call_id=f"{name}-none", response_cost=None),
            element(id=f"{name}-text", litellm_call_id=f"{name}-text", response_cost="dear"),
            element(id=f"{name}-bad", status=None),
            element(
                id=f"{name}-nobody", litellm_call_id=f"{name}-nobody", end_user=None, metadata={}
            ),
            element(id="same", litellm_call_id="same", response_cost=0.001 * (round_ + 1)),
        ]
        made = list(calls(10, HOUR, first=10 * round_))
        self._installation.table.accept([{**made[0], "response_cost": 9.0}, *made[1:]])
        arrived = [json.dumps(one).encode() for one in made[:8]]
        assert gateway.post(b"[" + b",".join([*arrived, *odd]) + b"]").status_code == 202
        assert gateway.post(b"{broken").status_code == 202
        assert gateway.post(b"").status_code == 400
        assert gateway.post(b"[]", "/v1/nothing").status_code == 404
        assert gateway.post(b"[]", headers={"authorization": "Bearer x"}).status_code == 401
        self._credits(f"credits-{round_}")

    def _credits(self, call: str) -> None:
        assert self._guard.ask("acct", call, 20, expires_in_seconds=1).status_code == 200
        assert self._guard.ask("acct", f"{call}-dear", 10_000).status_code == 402
        self._proxy.call()


@contextmanager
def scraped_scene(
    prometheus: Prometheus, installation: Reconciling, directory: Path
) -> Iterator[Scene]:
    """All rooms run and are scraped while the context lasts.

    Args:
        prometheus: one that is not started; it is when everything runs.
        installation: whose gateway is started.
        directory: takes logs.
    """
    consuming = installation.consuming
    guard = SpendGuard(consuming.database_url, directory)
    with guard.running(), proxy_without_guard() as (proxy, metrics):
        sql.opened(consuming.database_url, "acct", 1_000)
        member = consuming.member(CONSUMER_DEAD_LETTER_SHARE="1")
        reconciler = installation.start()
        for job, url in (
            ("billing-gateway", installation.gateway.metrics_url),
            ("billing-consumer", member.metrics_url),
            ("billing-reconciler", reconciler.metrics_url),
            ("billing-spend-guard", guard.metrics_url),
            ("litellm", f"http://{metrics}"),
        ):
            prometheus.scrapes(job, [url.removeprefix("http://")])
        prometheus.start()
        try:
            yield Scene(installation, guard, proxy)
        finally:
            prometheus.stop()


@contextmanager
def proxy_without_guard() -> Iterator[tuple[AskingProxy, str]]:
    """A proxy whose guard does not answer, and where its metrics are."""
    with loaded({}, Router()) as plugin:
        proxy = AskingProxy(plugin)
        proxy.guard.fault = httpx.ConnectError("away")
        # Not with what the rooms count that these tests import.
        own = CollectorRegistry()
        own.register(plugin.OUTCOMES)
        server, thread = start_http_server(0, "127.0.0.1", own)
        try:
            yield proxy, f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
            proxy.loop.run_until_complete(proxy.plugin._connection().aclose())  # noqa: SLF001 - it has no end of its own
            proxy.loop.close()
