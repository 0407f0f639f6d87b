"""Spend guards as processes, and what plugin, person and operator see of them."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.processes.process import Server, free_port
from tests.processes.room import RoomServer
from tests.waiting import NET_SECONDS, eventually

ROOT = Path(__file__).parents[2]
TOKEN, OTHER_TOKEN, ADMIN_TOKEN = "g" * 32, "h" * 32, "a" * 32


def bearer(token: str) -> dict[str, str]:
    """The header that carries a token."""
    return {"authorization": f"Bearer {token}"}


class SpendGuard:
    """A spend guard's process and a client of it; `settings` go before those of these tests."""

    def __init__(self, database_url: str, directory: Path, **settings: str) -> None:
        self.port, self.metrics_port = free_port(), free_port()
        environment = {
            **os.environ,
            "DATABASE_URL": database_url,
            "SPEND_GUARD_TOKENS": f"{TOKEN},{OTHER_TOKEN}",
            "SPEND_GUARD_ADMIN_TOKENS": ADMIN_TOKEN,
            "SPEND_GUARD_PORT": str(self.port),
            "SPEND_GUARD_METRICS_PORT": str(self.metrics_port),
            "SPEND_GUARD_SWEEP_S": "0.2",
            # The tests share two processors: nothing here is about who is slow.
            "SPEND_GUARD_WAIT_MS": "60000",
            **settings,
        }
        self.log = directory / f"spend-guard-{self.port}.log"
        self._environment = environment
        self.server: Server = RoomServer(["spend_guard", "run"], self.log, environment)
        self.client = httpx.Client(trust_env=False, timeout=NET_SECONDS)
        self.url = f"http://127.0.0.1:{self.port}"
        self.metrics_url = f"http://127.0.0.1:{self.metrics_port}"

    def limit_files(self, most: int) -> None:
        """Give the process so many files when it is started."""
        command = [sys.executable, "-m", "spend_guard", "run"]
        limited = ["bash", "-c", f'ulimit -n {most} && exec "$@"', "-", *command]
        self.server = Server("spend_guard", limited, self.log, env=self._environment, cwd=ROOT)

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.server.start()
        eventually(lambda: self.probe("/readyz") == 200, "/readyz", 60)

    @contextmanager
    def running(self) -> Iterator["SpendGuard"]:
        """Start it, and end it in every case."""
        try:
            self.start()
            yield self
        finally:
            self.client.close()
            self.server.stop()

    def probe(self, path: str) -> int:
        """The status of a probe; 0 where nobody listens."""
        self.server.check()
        try:
            return self.client.get(self.metrics_url + path).status_code
        except httpx.TransportError:
            return 0

    def metric(self, name: str, **labels: str) -> float:
        """The value of a metric; 0 where nothing was counted yet."""
        text = self.client.get(self.metrics_url + "/metrics").text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return float(sample.value)
        return 0.0

    def ask(self, account: str, call: str, amount: int, **more: Any) -> httpx.Response:  # noqa: ANN401 - JSON
        """Ask for a hold."""
        body = {
            "account": account,
            "litellm_call_id": call,
            "nonce": "n",
            "amount_credits": amount,
            **more,
        }
        return self.client.post(f"{self.url}/v1/holds", json=body, headers=bearer(TOKEN))

    def release(self, hold: str) -> httpx.Response:
        """Release a hold."""
        return self.client.post(f"{self.url}/v1/holds/{hold}/release", headers=bearer(TOKEN))

    def account(self, name: str, rest: str = "", token: str = TOKEN) -> httpx.Response:
        """Ask for an account, or for what is below it."""
        return self.client.get(self.path(name) + rest, headers=bearer(token))

    def post(
        self,
        name: str,
        key: str,
        token: str = ADMIN_TOKEN,
        **movement: Any,  # noqa: ANN401 - JSON
    ) -> httpx.Response:
        """Move credits."""
        headers = {**bearer(token), "idempotency-key": key}
        body = {"reason": "grant", "person": "ann", "note": "for tests", **movement}
        return self.client.post(f"{self.path(name)}/entries", json=body, headers=headers)

    def path(self, name: str) -> str:
        """The address of an account."""
        return f"{self.url}/v1/accounts/{quote(name, safe='')}"
