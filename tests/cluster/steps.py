"""What is done to a release under load. Each step gives its tally, and what else was seen."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

import helm_python as helm

from tests.cluster.deployed import NAMESPACE, ROOMS, SERVICE, TOKEN, Deployed, secret
from tests.cluster.load import Tally
from tests.kubernetes.api import RefusedError
from tests.kubernetes.chart import Values
from tests.waiting import NET_SECONDS, eventually

Step = Callable[[Deployed], tuple[Tally, str]]
AWAY_SECONDS: Final = 15.0
KILLS: Final = 6
CHANGES: Final = 10
BETWEEN_SECONDS: Final = 3.0
LAG_SECONDS: Final = 5
MEMBERS: Final = 3
WITHOUT_NUMBER: Final[Values] = {"consumer": {"replicas": None}}


def install(on: Deployed) -> tuple[Tally, str]:
    """Install, post through the Service, and run the chart's own test."""
    namespace = {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    on.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": namespace})
    on.api.apply(secret("billing-tokens", BILLING_INGEST_TOKEN=TOKEN))
    on.api.apply(secret("billing-database", DATABASE_URL=on.backing.database_url))
    nowhere = on.backing.database_url.replace("/billing", "/nowhere")
    on.api.apply(secret("billing-nowhere", DATABASE_URL=nowhere))
    began = time.monotonic()
    on.release.install(on.values(), wait=True)
    took = time.monotonic() - began
    on.calm()
    with on.sender.sending("install", 100) as tally:
        pass
    # Nobody serves names here: the Service's stands in the pod's own file.
    named = {"ip": on.api.get("services", SERVICE)["spec"]["clusterIP"], "hostnames": [SERVICE]}
    on.release.upgrade(on.values({"selfTest": {"hostAliases": [named]}}), wait=True)
    on.calm()
    on.release.test()
    return tally, f"ready {took:.0f} s after `helm install`; `helm test` passed"


def changes(on: Deployed) -> tuple[Tally, str]:
    """Upgrades and rollbacks at random, while pods of both rooms are deleted."""
    done: list[str] = []
    with on.sender.sending("changes") as tally, _deleting(on) as deleted:
        for number in range(CHANGES):
            earlier = [revision for revision, status in on.release.history() if status != "failed"]
            if number % 2 and len(earlier) > 1:
                on.release.rollback(on.chance.choice(earlier[:-1]), wait=True)
                done.append("rollback")
            else:
                note = {"podAnnotations": {"example.com/change": str(number)}}
                layers: Values = {on.chance.choice(ROOMS): note}
                on.release.upgrade(on.values(layers, tag=on.chance.choice(on.tags)), wait=True)
                done.append("upgrade")
    on.calm()
    counts = [f"{done.count(one)} {one}s" for one in ("upgrade", "rollback")]
    return tally, f"{' and '.join(counts)}, {len(deleted)} pods deleted"


@contextmanager
def _deleting(on: Deployed) -> Iterator[list[str]]:
    """Delete a pod now and then, as a person or a node's end does: it has its time to leave."""
    deleted: list[str] = []
    stop = threading.Event()

    def delete() -> None:
        while not stop.wait(on.chance.uniform(5, 15)):
            room = on.chance.choice(ROOMS)
            # A second one would leave nobody who serves.
            if on.ready(room):
                name = on.pod(room)
                on.api.delete("pods", name)
                deleted.append(name)

    with ThreadPoolExecutor(1) as threads:
        deletes = threads.submit(delete)
        try:
            yield deleted
        finally:
            stop.set()
            deletes.result(NET_SECONDS)


def kills(on: Deployed) -> tuple[Tally, str]:
    """Pods of both rooms killed at once: a request under way is lost, and its sender repeats it."""
    with on.sender.sending("kills") as tally:
        for number in range(KILLS):
            time.sleep(BETWEEN_SECONDS)
            on.api.delete("pods", on.pod(ROOMS[number % 2]), gracePeriodSeconds=0)
            on.calm()
    return tally, f"{KILLS} pods killed"


def kafka_away(on: Deployed) -> tuple[Tally, str]:
    """Kafka is away, and a gateway's pod is replaced meanwhile: its spool outlives it."""
    with on.sender.sending("kafka") as tally:
        time.sleep(BETWEEN_SECONDS)
        on.backing.kafka.kill()
        time.sleep(AWAY_SECONDS)
        on.api.delete("pods", on.pod("gateway"))
        eventually(lambda: on.ready("gateway"), "the gateway's pod", NET_SECONDS)
        time.sleep(BETWEEN_SECONDS)
        on.backing.kafka.start()
        time.sleep(BETWEEN_SECONDS)
    on.calm()
    return tally, "Kafka killed, a gateway's pod deleted before it came back"


def postgres_away(on: Deployed) -> tuple[Tally, str]:
    """PostgreSQL is away, and a consumer's pod is replaced meanwhile."""
    with on.sender.sending("postgres") as tally:
        time.sleep(BETWEEN_SECONDS)
        on.backing.postgres.kill()
        time.sleep(AWAY_SECONDS)
        on.api.delete("pods", on.pod("consumer"))
        time.sleep(BETWEEN_SECONDS)
        on.backing.postgres.start()
        time.sleep(BETWEEN_SECONDS)
    on.calm()
    return tally, "PostgreSQL killed, a consumer's pod deleted before it came back"


def drain(on: Deployed) -> tuple[Tally, str]:
    """Each pod is asked to leave, as a drain does: a budget lets one of a room go at a time."""
    refused = 0
    with on.sender.sending("drain") as tally:
        waiting = [one["metadata"]["name"] for room in ROOMS for one in on.pods(room)]
        uids = {one["metadata"]["uid"] for room in ROOMS for one in on.pods(room)}
        for name in waiting:

            def left(name: str = name) -> bool:
                nonlocal refused
                try:
                    on.api.evict(name)
                except RefusedError as busy:
                    refused += busy.status == 429
                    return busy.status == 404
                return True

            eventually(left, f"{name} to leave", NET_SECONDS)

        def replaced() -> bool:
            now = {one["metadata"]["uid"] for room in ROOMS for one in on.pods(room)}
            return not now & uids and all(on.ready(room) for room in ROOMS)

        eventually(replaced, "new pods", NET_SECONDS)
    return tally, f"{len(waiting)} pods evicted, {refused} times told to wait by a budget"


def failing_migration(on: Deployed) -> tuple[Tally, str]:
    """An upgrade whose migration fails: no pod is touched."""
    before = {one["metadata"]["uid"] for room in ROOMS for one in on.pods(room)}
    broken: Values = {"migrations": {"existingSecret": "billing-nowhere", "backoffLimit": 0}}
    with on.sender.sending("migration") as tally:
        try:
            on.release.upgrade(on.values(broken, tag=on.tags[-1]), wait=True)
        except helm.HelmError as failed:
            said = str(failed)
        else:
            raise AssertionError("an upgrade went on without its migration")
    after = {one["metadata"]["uid"] for room in ROOMS for one in on.pods(room)}
    assert before == after, "a pod was replaced"
    on.release.upgrade(on.values(), wait=True)
    on.calm()
    return tally, f"no pod replaced; Helm said: {said.splitlines()[0][:80]}"


def uninstalled(on: Deployed) -> tuple[Tally, str]:
    """Callbacks wait in the spools, the release is taken away and installed again."""
    on.backing.kafka.kill()
    with on.sender.sending("uninstall", 60) as tally:
        pass
    on.release.uninstall(wait=True)
    eventually(lambda: not any(on.pods(room) for room in ROOMS), "no pod", NET_SECONDS)
    on.backing.kafka.start()
    on.release.install(on.values(), wait=True)
    on.calm()
    return tally, "all of them spooled, uninstalled, installed again"


def scaled_out(on: Deployed) -> tuple[Tally, str]:
    """Members are added by the age of the oldest callback, by the rule that KEDA is given."""
    most = 1
    on.release.upgrade(on.values(WITHOUT_NUMBER), wait=True)
    name = "live-billing-stream-consumer"
    on.api.scale("deployments", name, 1)
    on.backing.postgres.suspend()
    with on.sender.sending("scale") as tally:

        def enough() -> bool:
            nonlocal most
            members = on.api.get("deployments", name)["spec"]["replicas"]
            wanted = min(MEMBERS, max(members, math.ceil(members * on.age() / LAG_SECONDS)))
            if wanted > most:
                on.api.scale("deployments", name, wanted)
                most = wanted
            return most == MEMBERS

        eventually(enough, "a backlog that needs more members", NET_SECONDS)
        on.backing.postgres.resume()
        on.calm()
    on.settled(tally)
    on.release.upgrade(on.values(WITHOUT_NUMBER, tag=on.tags[-1]), wait=True)
    kept = on.api.get("deployments", name)["spec"]["replicas"]
    assert kept == MEMBERS, f"an upgrade set {kept} members"
    return tally, f"1 to {most} members; an upgrade left them"


STEPS: Final[dict[str, Step]] = {
    "install": install,
    "changes": changes,
    "kills": kills,
    "kafka": kafka_away,
    "postgres": postgres_away,
    "drain": drain,
    "migration": failing_migration,
    "uninstall": uninstalled,
    "scale": scaled_out,
}
