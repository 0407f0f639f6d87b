"""A gateway as a process, and what a client and an operator see of it."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.processes.process import Server, free_port
from tests.processes.room import RoomServer
from tests.waiting import NET_SECONDS, eventually

TOKEN = "t" * 32
AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}
CALLBACKS_PATH = "/v1/callbacks/litellm"
ROOT = Path(__file__).parents[2]


class Gateway:
    """A gateway process and a client of it.

    Args:
        kafka: the brokers.
        prefix: of its topics.
        directory: takes its log.
        settings: further environment, which goes before that of these tests.
    """

    def __init__(self, kafka: str, prefix: str, directory: Path, **settings: str) -> None:
        self.port, self.metrics_port = free_port(), free_port()
        environment = {
            **os.environ,
            "BILLING_INGEST_TOKEN": TOKEN,
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "BILLING_TOPIC_PREFIX": prefix,
            # On a busy machine a broker may take longer than in production for a record.
            "GATEWAY_DELIVERY_TIMEOUT_MS": "120000",
            "GATEWAY_PORT": str(self.port),
            "GATEWAY_METRICS_PORT": str(self.metrics_port),
            **settings,
        }
        self._log, self._environment = directory / "gateway.log", environment
        self.server: Server = RoomServer(["producer_gateway", "run"], self._log, environment)
        # A connection for each request: an idle one may be closed, by the server or by another
        # thread of the tests, just as a thread that had to wait for a processor takes it.
        each = httpx.Limits(max_keepalive_connections=0)
        self.client = httpx.Client(trust_env=False, timeout=NET_SECONDS, limits=each)
        self.url = f"http://127.0.0.1:{self.port}"
        self.metrics_url = f"http://127.0.0.1:{self.metrics_port}"

    def limit_descriptors(self, soft: int, hard: int) -> None:
        """Give the process these limits when it is started."""
        command = [sys.executable, "-m", "producer_gateway", "run"]
        limits = f"ulimit -Sn {soft} && ulimit -Hn {hard}"
        limited = ["bash", "-c", f'{limits} && exec "$@"', "-", *command]
        self.server = Server("gateway", limited, self._log, env=self._environment, cwd=ROOT)

    def start(self) -> None:
        """Start it and wait until its probes answer."""
        self.server.start()
        eventually(lambda: self.probe("/livez") == 200, "/livez", 60)

    def probe(self, path: str) -> int:
        """The status of a probe; 0 where nobody listens."""
        self.server.check()
        try:
            return self.client.get(self.metrics_url + path).status_code
        except httpx.TransportError:
            return 0

    def ready(self) -> None:
        """Wait until it is ready."""
        eventually(lambda: self.probe("/readyz") == 200, "/readyz", 60)

    def state(self) -> dict[str, Any]:
        """What `/readyz` says of Kafka and the spool."""
        said: dict[str, Any] = self.client.get(self.metrics_url + "/readyz").json()
        return said

    def text(self, path: str) -> str:
        """What a probe says."""
        return self.client.get(self.metrics_url + path).text

    def metric(self, name: str, **labels: str) -> float:
        """The value of a metric; 0 where nothing was counted yet. There must be one of the name."""
        families = list(text_string_to_metric_families(self.text("/metrics")))
        assert any(name.startswith(family.name) for family in families), name
        for family in families:
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return float(sample.value)
        return 0.0

    def post(
        self,
        body: bytes,
        path: str = CALLBACKS_PATH,
        headers: Mapping[str, str] = AUTHORIZED,
    ) -> httpx.Response:
        """Post a body, with the token unless other headers are given."""
        return self.client.post(self.url + path, content=body, headers=headers)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start it, wait until it is ready, and end it in every case."""
        try:
            self.start()
            self.ready()
            yield
        finally:
            self.stop()

    def stop(self) -> None:
        """End it in order; for good, as its client ends as well."""
        self.client.close()
        self.server.stop()
