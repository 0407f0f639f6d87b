"""The chart deployed on a node: what the steps act on, and what they wait for."""

import math
import random
from dataclasses import dataclass
from functools import partial
from typing import Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.load import CREDITS, Sender, Tally, receipts
from tests.kubernetes.api import Api, Manifest
from tests.kubernetes.backing import Backing
from tests.kubernetes.chart import Values, merge
from tests.kubernetes.node import Node
from tests.kubernetes.release import Release
from tests.waiting import NET_SECONDS, eventually

NAMESPACE: Final = "money"
TOKEN: Final = "t" * 40
ROOMS: Final = ("gateway", "consumer")
SERVICE: Final = "live-billing-stream-gateway"
SETTLED_SECONDS: Final = 300.0
AGE: Final = "billing_consumer_oldest_uncommitted_seconds"
CONSUMER_METRICS: Final = 9091


def secret(name: str, **content: str) -> Manifest:
    """A Secret of the namespace."""
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": content}


def values(backing: Backing, tag: str, gateways: int) -> Values:
    """So many gateways, and two consumers, on a small machine."""
    small = {
        "replicas": 2,
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
        "podDisruptionBudget": {"enabled": True},
    }
    job = {"resources": {"requests": {"cpu": "20m", "memory": "64Mi"}}}
    return {
        "image": {"repository": "localhost/billing-stream", "tag": tag},
        "kafka": {"bootstrapServers": backing.kafka.bootstrap},
        "database": {"existingSecret": "billing-database"},
        "ingestTokens": {"existingSecret": "billing-tokens"},
        "gateway": small | {"replicas": gateways},
        "consumer": small,
        "topics": job,
        "migrations": job,
        "selfTest": job,
    }


@dataclass
class Deployed:
    """A release on a node, with load."""

    node: Node
    backing: Backing
    api: Api
    release: Release
    chance: random.Random
    rate: float
    tags: tuple[str, ...]
    gateways: int
    """Of two, a pod that is deleted while a roll-out replaces the other one leaves nobody."""

    @property
    def sender(self) -> Sender:
        """Sends through the Service."""
        return Sender(self.url, TOKEN, self.rate)

    def url(self) -> str:
        """The Service's address; it changes when the Service is made anew."""
        service = self.api.get("services", SERVICE)["spec"]
        return f"http://{service['clusterIP']}:{service['ports'][0]['port']}"

    def values(self, *layers: Values, tag: str = "1") -> Values:
        """What the release is installed with."""
        return merge(values(self.backing, tag, self.gateways), *layers)

    def pods(self, room: str) -> list[Manifest]:
        """The pods of a room that are not about to go."""
        labels = f"app.kubernetes.io/component={room}"
        pods = self.api.listed("pods", labels)
        return [one for one in pods if "deletionTimestamp" not in one["metadata"]]

    def pod(self, room: str) -> str:
        """The name of one pod of a room, by chance."""
        return str(self.chance.choice(self.pods(room))["metadata"]["name"])

    def ready(self, room: str) -> bool:
        """Whether every pod of a room that should be there serves."""
        kind = "statefulsets" if room == "gateway" else "deployments"
        found = self.api.get(kind, f"live-billing-stream-{room}")
        status, wanted = found["status"], found["spec"]["replicas"]
        return bool(
            status.get("observedGeneration") == found["metadata"]["generation"]
            and status.get("readyReplicas", 0) == status.get("updatedReplicas", 0) == wanted
            and len(self.pods(room)) == wanted
        )

    def calm(self) -> None:
        """Wait until every pod serves."""
        for room in ROOMS:
            eventually(partial(self.ready, room), f"each {room}", NET_SECONDS)

    def settled(self, tally: Tally) -> int:
        """Wait until each call has its receipt; return how many there are.

        Raises:
            AssertionError: a call has two receipts, or a wrong amount.
            TimeoutError: a call has none.
        """
        calls = len(tally.calls)
        url = self.backing.postgres.url

        def written() -> bool:
            return receipts(url, tally)[1] == calls

        eventually(written, f"the receipts of {calls} calls of {tally.name}", SETTLED_SECONDS)
        rows, distinct, credits_charged = receipts(url, tally)
        assert rows == distinct == calls, f"{rows} receipts of {calls} calls"
        assert credits_charged == CREDITS * calls, f"{credits_charged} credits for {calls} calls"
        return rows

    def age(self) -> float:
        """Seconds since the oldest callback without a receipt came, as the members tell it."""
        ages = [0.0]
        for pod in self.pods("consumer"):
            address = pod["status"].get("podIP")
            if address:
                ages += _metric(f"http://{address}:{CONSUMER_METRICS}/metrics", AGE)
        return max(one for one in ages if not math.isnan(one))


def _metric(url: str, name: str) -> list[float]:
    try:
        told = httpx.get(url, trust_env=False, timeout=10).text
    except httpx.TransportError:
        return []  # a pod that does not serve yet
    families = text_string_to_metric_families(told)
    return [one.value for family in families for one in family.samples if one.name == name]
