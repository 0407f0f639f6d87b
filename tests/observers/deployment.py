"""A running deployment, seen from outside: HTTP in, metrics, SQL and Kafka out."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.clients import fetching

ADDRESSES = (
    "GATEWAY_URL",
    "GATEWAY_METRICS_URL",
    "CONSUMER_METRICS_URL",
    "BILLING_INGEST_TOKEN",
    "DATABASE_URL",
    "KAFKA_BOOTSTRAP_SERVERS",
)
"""What `make up` writes into `.run/env`."""

CALLBACKS_PATH = "/v1/callbacks/litellm"
OLDER_PATH = "/api/internal/billing/ingest"
POST_SECONDS = 120


class DeploymentError(RuntimeError):
    """The environment describes half a deployment."""


@dataclass(frozen=True)
class Deployment:
    """Addresses and secrets of one deployment.

    `topic_prefix` and `group` are those of its settings. `sources` maps the names of further
    token sources to their tokens. The `litellm` fields are empty where no proxy belongs to it.
    """

    gateway_url: str
    gateway_metrics_url: str
    consumer_metrics_url: str
    token: str = field(repr=False)
    database_url: str = field(repr=False)
    bootstrap: str
    topic_prefix: str = ""
    group: str = "billing-consumer"
    sources: Mapping[str, str] = field(default_factory=dict, repr=False)
    litellm_url: str = ""
    litellm_key: str = field(default="", repr=False)

    @classmethod
    def described_by(cls, environment: Mapping[str, str]) -> "Deployment":
        """Read a deployment from KEY=value pairs as in `.run/env`.

        Raises:
            DeploymentError: some of the addresses are missing.
        """
        missing = [name for name in ADDRESSES if not environment.get(name)]
        if missing:
            raise DeploymentError(f"to test a running deployment, set {', '.join(missing)} as well")
        pairs = environment.get("BILLING_INGEST_TOKENS", "").split(",")
        return cls(
            gateway_url=environment["GATEWAY_URL"],
            gateway_metrics_url=environment["GATEWAY_METRICS_URL"],
            consumer_metrics_url=environment["CONSUMER_METRICS_URL"],
            token=environment["BILLING_INGEST_TOKEN"],
            database_url=environment["DATABASE_URL"],
            bootstrap=environment["KAFKA_BOOTSTRAP_SERVERS"],
            topic_prefix=environment.get("BILLING_TOPIC_PREFIX", ""),
            group=environment.get("CONSUMER_GROUP", "billing-consumer"),
            sources=dict(pair.split("=", 1) for pair in pairs if "=" in pair),
            litellm_url=environment.get("LITELLM_URL", ""),
            litellm_key=environment.get("LITELLM_MASTER_KEY", ""),
        )

    def topic(self, name: str) -> str:
        """The full name of a topic."""
        return self.topic_prefix + name

    def post(
        self,
        body: bytes,
        *,
        token: str | None = None,
        path: str = CALLBACKS_PATH,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Post `body` as LiteLLM would; the answer, whatever its status.

        Args:
            body: sent as it is.
            token: instead of the deployment's; empty sends no Authorization at all.
            path: instead of the callbacks endpoint.
            headers: added to the request's.
        """
        token = self.token if token is None else token
        sent = {"Content-Type": "application/json", **(headers or {})}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        url = self.gateway_url + path
        return fetching.post(url, content=body, headers=sent)

    def accept(self, body: bytes, *, token: str | None = None) -> dict[str, int]:
        """Post what must be accepted; the counts of the answer."""
        answer = self.post(body, token=token)
        assert answer.status_code == httpx.codes.ACCEPTED, (answer.status_code, answer.text)
        counts: dict[str, int] = answer.json()
        return counts

    def outcomes(self) -> dict[str, float]:
        """`billing_consumer_records_total` by outcome."""
        found: dict[str, float] = {}
        for labels, value in self._samples("billing_consumer_records_total"):
            outcome = labels["outcome"]
            found[outcome] = found.get(outcome, 0) + value
        return found

    def counted_to(self, topic: str) -> dict[int, int]:
        """The offset before which the consumer has counted, by partition that it has read from."""
        return {
            int(labels["partition"]): int(value)
            for labels, value in self._samples("billing_consumer_settled_offset")
            if labels["topic"] == self.topic(topic)
        }

    def _samples(self, name: str) -> list[tuple[Mapping[str, str], float]]:
        return [
            (sample.labels, sample.value)
            for family in self._families(self.consumer_metrics_url)
            for sample in family.samples
            if sample.name == name
        ]

    def counted(self) -> dict[str, float]:
        """Every counter of both processes; one that goes back tells of a restart.

        Raises:
            httpx.HTTPError: one of them does not answer, or says that it does not live.
        """
        found: dict[str, float] = {}
        for url in (self.gateway_metrics_url, self.consumer_metrics_url):
            _get(f"{url}/livez")
            for family in self._families(url):
                if family.type == "counter":
                    for sample in family.samples:
                        found[f"{url} {sample.name} {sample.labels}"] = sample.value
        return found

    @staticmethod
    def _families(url: str) -> Iterable[Metric]:
        return text_string_to_metric_families(_get(f"{url}/metrics").text)


def _get(url: str) -> httpx.Response:
    return fetching.get(url).raise_for_status()


def given_deployment() -> Deployment | None:
    """The deployment that the environment describes; None when it describes none."""
    if "GATEWAY_URL" not in os.environ:
        return None
    return Deployment.described_by(os.environ)
