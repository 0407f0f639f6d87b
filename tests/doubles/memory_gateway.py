"""A gateway whose store is in memory, and a client's view of it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

import httpx

from producer_gateway.app import Gateway
from producer_gateway.metrics import Metrics
from producer_gateway.routes import CALLBACKS_PATH, application
from producer_gateway.settings import Settings
from producer_gateway.store import NotStoredError, Record, Stored
from schemas.topics import load_topics
from tests.inputs import captures
from tests.inputs.callbacks import element
from tests.waiting import NET_SECONDS

TOKEN = "t" * 32
PREVIOUS = "p" * 32
EUROPE = "e" * 32
MAX_BODY_BYTES = 100_000
ONE = captures.array([element()])


class MemoryStore:
    """Keeps records in memory, or refuses them all."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.refuses = False

    async def store(self, records: Sequence[Record]) -> Stored:
        """Keep `records`."""
        if self.refuses:
            raise NotStoredError("delivery_failed", "the broker is gone")
        self.records += records
        return Stored(len(records), 0)


class MemoryGateway:
    """A gateway in memory: its store, its metrics, and a client's view of it.

    Args:
        settings: environment, which goes before that of these tests.
    """

    def __init__(self, **settings: str) -> None:
        environment = {
            "BILLING_INGEST_TOKEN": TOKEN,
            "BILLING_INGEST_TOKEN_PREVIOUS": PREVIOUS,
            "BILLING_INGEST_TOKENS": f"eu={EUROPE}",
            "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
            "GATEWAY_MAX_BODY_BYTES": str(MAX_BODY_BYTES),
            "GATEWAY_MAX_INFLIGHT_BYTES": str(MAX_BODY_BYTES),
            "GATEWAY_BODY_TIMEOUT_S": str(NET_SECONDS),
            **settings,
        }
        self.metrics = Metrics()
        self.store = MemoryStore()
        read = Settings.model_validate(environment)
        self.gateway = Gateway(read, load_topics(), self.metrics, self.store)
        self._app = application(self.gateway)

    def request(
        self,
        body: bytes | AsyncIterator[bytes] = ONE,
        *,
        path: str = CALLBACKS_PATH,
        token: str | None = TOKEN,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send one request."""
        sent = dict(headers or {})
        if token is not None:
            sent["authorization"] = f"Bearer {token}"

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport) as client:
                url = f"http://gateway{path}"  # joined by hand: two slashes begin a host
                return await client.request(method, url, content=body, headers=sent)

        return asyncio.run(send())

    def metric(self, name: str, **labels: str) -> float:
        """The value of a metric, 0 where nothing counted yet."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def refused(self, status: str, reason: str, source: str) -> float:
        """How many answers were no 2xx for this reason."""
        name = "billing_gateway_refused_requests_total"
        return self.metric(name, source=source, status=status, reason=reason)
