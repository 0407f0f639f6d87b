"""The chart at a real API server: what it refuses, in which order hooks run, what an upgrade meets.

No pod runs: `tests.kubernetes.played_jobs` ends the Jobs. What runs on a node is `make cluster`.
"""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml

from tests.kubernetes.api import Api, RefusedError
from tests.kubernetes.chart import (
    CHART,
    EVERYTHING,
    FOREIGN_APIS,
    MAKES_PODS,
    OPTIONAL,
    REQUIRED,
    Manifest,
    Values,
    kinds,
    manifests,
    merge,
)
from tests.kubernetes.control_plane import ControlPlane, running_control_plane
from tests.kubernetes.played import played_jobs
from tests.kubernetes.release import Release

SCENARIOS = sorted((CHART / "ci").glob("*-values.yaml"))
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
TOPICS, MIGRATE = "live-billing-stream-topics", "live-billing-stream-migrate"
GATEWAY, CONSUMER = "live-billing-stream-gateway", "live-billing-stream-consumer"


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server."""
    with running_control_plane(tmp_path_factory.mktemp("plane")) as running:
        yield running


@pytest.fixture
def api(plane: ControlPlane) -> Api:
    """A namespace of its own, which enforces the standard `restricted` for pods."""
    name = f"money-{secrets.token_hex(4)}"
    labels = {"name": name, "labels": RESTRICTED}
    plane.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": labels})
    return plane.api.within(name)


@pytest.fixture
def release(plane: ControlPlane, api: Api) -> Iterator[Release]:
    """A release of the chart in that namespace, not installed yet."""
    made = Release(plane, api.namespace)
    yield made
    made.close()


def taken(api: Api, made: list[Manifest]) -> int:
    """How many of the manifests the server takes, strictly; their pods as well, or it fails."""
    count = 0
    for manifest in made:
        if manifest["apiVersion"] in FOREIGN_APIS:
            continue
        placed = merge(manifest, {"metadata": {"namespace": api.namespace}})
        api.apply(placed, dry=True)
        count += 1
        if manifest["kind"] in MAKES_PODS:
            api.apply(pod_of(manifest, api.namespace), dry=True)
    return count


def pod_of(manifest: Manifest, namespace: str) -> Manifest:
    """A pod as the workload would make one."""
    template = manifest["spec"]["template"]
    claims = [
        {"name": one["metadata"]["name"], "emptyDir": {}}
        for one in manifest["spec"].get("volumeClaimTemplates", ())
    ]
    spec = template["spec"]
    # The server knows no class of priority that a test made up, and containers that an operator
    # adds have their own rights.
    foreign = {"priorityClassName", "initContainers"}
    spec = {key: value for key, value in spec.items() if key not in foreign}
    spec["containers"] = spec["containers"][:1]
    spec["volumes"] = [*spec.get("volumes", ()), *claims]
    metadata = {**template["metadata"], "name": manifest["metadata"]["name"]}
    metadata["namespace"] = namespace
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@pytest.mark.parametrize(
    "values", [{}, OPTIONAL, EVERYTHING], ids=["default", "optional", "everything"]
)
def test_the_server_takes_every_object_and_admits_every_pod(api: Api, values: Values) -> None:
    assert taken(api, manifests(values)) > 5


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_the_server_takes_every_scenario(api: Api, path: Path) -> None:
    values: dict[str, Any] = yaml.safe_load(path.read_text())
    assert taken(api, manifests(values)) > 5


def test_the_namespace_refuses_a_pod_that_may_become_root(api: Api) -> None:
    pod = pod_of(kinds("StatefulSet")["gateway"], api.namespace)
    pod["spec"]["securityContext"] = {}

    with pytest.raises(RefusedError, match="runAsNonRoot"):
        api.apply(pod, dry=True)


def test_a_key_that_kubernetes_does_not_know_is_refused(api: Api) -> None:
    placed = merge(
        kinds("StatefulSet")["gateway"],
        {"metadata": {"namespace": api.namespace}, "spec": {"replica": 2}},
    )

    with pytest.raises(RefusedError, match="replica"):
        api.apply(placed, dry=True)


def test_an_install_makes_topics_then_migrates_then_starts_the_rooms(
    api: Api, release: Release
) -> None:
    with played_jobs(api) as jobs:
        release.install(REQUIRED)

    assert jobs.seen == [TOPICS, MIGRATE]
    assert jobs.beside == {TOPICS: set(), MIGRATE: set()}
    assert GATEWAY in api.names("statefulsets")
    assert CONSUMER in api.names("deployments")


@pytest.mark.parametrize("failing", [TOPICS, MIGRATE])
def test_a_first_install_whose_hook_fails_starts_nothing_and_can_be_tried_again(
    api: Api, release: Release, failing: str
) -> None:
    with played_jobs(api, lambda name: name != failing), pytest.raises(helm.HelmError):
        release.install(REQUIRED)
    assert not api.names("statefulsets") | api.names("deployments")

    with played_jobs(api):
        with pytest.raises(helm.HelmError):
            release.install(REQUIRED)
        release.upgrade(REQUIRED)
    assert GATEWAY in api.names("statefulsets")
    assert release.history()[-1] == (2, "deployed")


@pytest.mark.parametrize("failing", [TOPICS, MIGRATE])
def test_an_upgrade_whose_hook_fails_changes_no_pod(
    api: Api, release: Release, failing: str
) -> None:
    with played_jobs(api):
        release.install(REQUIRED)
    before = templates(api)

    with played_jobs(api, lambda name: name != failing), pytest.raises(helm.HelmError):
        release.upgrade(newer("2"))
    assert templates(api) == before

    with played_jobs(api):
        release.upgrade(newer("2"))
    assert templates(api) != before


def test_a_rollback_brings_the_former_pods_back_and_runs_no_job(api: Api, release: Release) -> None:
    with played_jobs(api):
        release.install(newer("1"))
        before = templates(api)
        release.upgrade(newer("2"))
        assert templates(api) != before

    with played_jobs(api, lambda _: False) as jobs:
        release.rollback(1)

    assert jobs.seen == []
    assert templates(api) == before


@pytest.mark.parametrize(
    ("kind", "name", "values"),
    [
        ("statefulsets", GATEWAY, {"gateway": {"replicas": None}}),
        ("deployments", CONSUMER, {"consumer": {"replicas": None}}),
        ("statefulsets", GATEWAY, {"gateway": {"autoscaling": {"enabled": True}}}),
        (
            "deployments",
            CONSUMER,
            {"consumer": {"autoscaling": {"enabled": True, "by": "cpu"}}},
        ),
        (
            "deployments",
            "live-billing-stream-spend-guard",
            {"spendGuard": OPTIONAL["spendGuard"] | {"autoscaling": {"enabled": True}}},
        ),
    ],
)
def test_what_a_scaler_has_set_outlives_upgrade_and_rollback(
    api: Api, release: Release, kind: str, name: str, values: Values
) -> None:
    with played_jobs(api):
        release.install(merge(newer("1"), values))
        api.scale(kind, name, 3)
        release.upgrade(merge(newer("2"), values))
        release.rollback(1)

    assert api.get(kind, name)["spec"]["replicas"] == 3
    assert [status for _, status in release.history()] == ["superseded", "superseded", "deployed"]


def test_a_number_of_pods_that_the_chart_names_conflicts_with_one_that_somebody_has_set(
    api: Api, release: Release
) -> None:
    """Why `replicas: null` is there (docs/kubernetes.md)."""
    with played_jobs(api):
        release.install(REQUIRED)
        api.scale("statefulsets", GATEWAY, 3)
        with pytest.raises(helm.HelmError, match=r"spec\.replicas"):
            release.upgrade(newer("2"))


def test_a_volume_is_enlarged_by_making_the_set_anew_without_its_pods(
    api: Api, release: Release
) -> None:
    larger = merge(REQUIRED, {"gateway": {"spool": {"size": "20Gi"}}})
    with played_jobs(api):
        release.install(REQUIRED)
        with pytest.raises(helm.HelmError, match="Forbidden"):
            release.upgrade(larger)
        api.delete("statefulsets", GATEWAY, propagationPolicy="Orphan")
        without_finalizers(api, "statefulsets", GATEWAY)
        release.upgrade(larger)

    (claim,) = api.get("statefulsets", GATEWAY)["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "20Gi"


def test_after_an_uninstall_the_same_name_can_be_installed(api: Api, release: Release) -> None:
    with played_jobs(api) as jobs:
        release.install(REQUIRED)
        release.uninstall()
        assert not api.names("statefulsets") | api.names("deployments") | api.names("services")
        release.install(REQUIRED)

    assert jobs.seen == [TOPICS, MIGRATE] * 2
    assert GATEWAY in api.names("statefulsets")


def newer(version: str) -> Values:
    """Values whose pods differ from those of another version."""
    return merge(REQUIRED, {"image": {"tag": version}})


def templates(api: Api) -> dict[str, Any]:
    """What each workload makes its pods from, by its name."""
    return {
        one["metadata"]["name"]: one["spec"]["template"]
        for kind in ("deployments", "statefulsets")
        for one in api.listed(kind)
    }


def without_finalizers(api: Api, kind: str, name: str) -> None:
    """Let go of an object, as the garbage collector does when it has orphaned what it owned."""
    api.merge(kind, name, {"metadata": {"finalizers": None}})
