"""What the chart gives to scalers, Prometheus, Grafana, networks and callers from outside."""

import json
from typing import Any

import helm_python as helm
import pytest
import yaml

from schemas.topics import load_topics
from tests.repository.chart import (
    EVERYTHING,
    NO_SPOOL,
    RECONCILER,
    ROOT,
    SPEND_GUARD,
    Manifest,
    Values,
    environment,
    manifests,
    texts,
    workloads,
)

ROOMS = ("gateway", "consumer", "reconciler", "spend-guard")
OPTIONAL: Values = {"reconciler": RECONCILER, "spendGuard": SPEND_GUARD}
SCALED = ("gateway", "consumer")


def kinds(kind: str, *layers: Values) -> dict[str, Manifest]:
    """Manifests of a kind by their component."""
    return {
        manifest["metadata"]["labels"]["app.kubernetes.io/component"]: manifest
        for manifest in manifests(*layers)
        if manifest["kind"] == kind
    }


def rooms(*layers: Values) -> dict[str, Manifest]:
    """What makes the pods of the rooms, also of those that are off by default."""
    layers = (OPTIONAL, *layers)
    found = kinds("Deployment", *layers) | kinds("StatefulSet", *layers)
    assert set(found) == set(ROOMS)
    return found


def scaled(room: str, **more: Any) -> Values:  # noqa: ANN401 - also wrong types
    """Values with a scaler on."""
    return {room: {"autoscaling": {"enabled": True, **more}}}


@pytest.mark.parametrize("room", SCALED)
@pytest.mark.parametrize(
    "values", [{"autoscaling": {"enabled": True}}, {"replicas": None}], ids=["scaler", "null"]
)
def test_the_number_of_pods_is_left_to_whoever_keeps_it(room: str, values: Values) -> None:
    """With Helm 4 a field that a scaler has set makes each later upgrade and rollback fail."""
    prometheus = {"consumer": {"autoscaling": {"prometheusAddress": "http://prometheus"}}}
    found = rooms({room: values}, prometheus)
    assert "replicas" not in found[room]["spec"]
    (other,) = {*SCALED} - {room}
    assert found[other]["spec"]["replicas"] == 2
    for key, optional in (("reconciler", "reconciler"), ("spendGuard", "spend-guard")):
        assert "replicas" not in rooms({key: {"replicas": None}})[optional]["spec"]


def test_a_number_of_pods_that_is_given_is_kept_also_where_it_is_none() -> None:
    found = rooms({"gateway": {"replicas": 0}})
    assert found["gateway"]["spec"]["replicas"] == 0


@pytest.mark.parametrize("spool", [{}, NO_SPOOL], ids=["spool", "no spool"])
def test_a_scaler_names_what_it_scales(spool: Values) -> None:
    layers = (spool, scaled("gateway"), scaled("consumer", by="cpu"))
    for room, scaler in kinds("HorizontalPodAutoscaler", *layers).items():
        made = rooms(*layers)[room]
        assert scaler["spec"]["scaleTargetRef"] == {
            "apiVersion": made["apiVersion"],
            "kind": made["kind"],
            "name": made["metadata"]["name"],
        }
    assert set(kinds("HorizontalPodAutoscaler", *layers)) == set(SCALED)


def test_keda_asks_for_a_metric_that_the_consumer_has_and_stops_at_the_partitions() -> None:
    (scaler,) = kinds("ScaledObject", EVERYTHING).values()
    assert scaler["spec"]["maxReplicaCount"] == load_topics("").callbacks.partitions
    (trigger,) = scaler["spec"]["triggers"]
    metric = trigger["metadata"]["query"].removeprefix("max(").partition("{")[0]
    assert metric in (ROOT / "consumer" / "metrics.py").read_text()
    assert 'instance=~"money/live-billing-stream-consumer-.+"' in trigger["metadata"]["query"]
    with pytest.raises(helm.HelmRenderError, match="prometheusAddress"):
        texts(scaled("consumer"))


def test_fewest_pods_are_no_more_than_most() -> None:
    with pytest.raises(helm.HelmRenderError, match="minReplicas 9 is more than maxReplicas 6"):
        texts(scaled("gateway", minReplicas=9))


def test_the_rules_and_the_dashboards_are_those_of_deploy() -> None:
    found = kinds("PrometheusRule", EVERYTHING)["monitoring"]
    rules = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()
    assert found["spec"] == yaml.safe_load(rules)
    boards = kinds("ConfigMap", EVERYTHING)["monitoring"]["data"]
    deployed = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
    assert [path.name for path in deployed] == sorted(boards)
    for path in deployed:
        assert json.loads(boards[path.name]) == json.loads(path.read_text())


@pytest.mark.parametrize("room", ROOMS)
def test_a_monitor_finds_the_metrics_service_alone_and_names_pods_as_the_rules_do(
    room: str,
) -> None:
    monitor = kinds("ServiceMonitor", EVERYTHING)[room]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    services = [
        m["metadata"]["name"]
        for m in manifests(EVERYTHING)
        if m["kind"] == "Service" and wanted <= m["metadata"]["labels"].items()
    ]
    assert services == [f"live-billing-stream-{room}-metrics"]
    (endpoint,) = monitor["spec"]["endpoints"]
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "kubernetes.yml").read_text())
    jobs = {job["job_name"]: job["relabel_configs"] for job in config["scrape_configs"]}
    instance = jobs[f"billing-{room}"][-1]
    assert endpoint["relabelings"] == [
        {"targetLabel": "job", "replacement": f"billing-{room}"},
        {
            "sourceLabels": instance["source_labels"],
            "separator": instance["separator"],
            "targetLabel": instance["target_label"],
        },
    ]


def test_a_pod_reaches_only_what_it_speaks_to() -> None:
    policies = kinds("NetworkPolicy", EVERYTHING)
    reached = {
        name: sorted(
            port["port"] for rule in policy["spec"]["egress"] for port in rule.get("ports", [])
        )
        for name, policy in policies.items()
    }
    assert reached == {
        "gateway": [53, 53, 443, 9092, 9093],
        "consumer": [53, 53, 443, 6432, 9092, 9093],
        "reconciler": [53, 53, 443, 4000, 6432, 8080],
        "spend-guard": [53, 53, 443, 6432],
        "topics": [53, 53, 443, 9092, 9093],
        "migrate": [53, 53, 443, 6432],
        "test": [53, 53, 443, 6432, 8080],
    }
    taken = {
        name: {
            port["port"]: rule.get("from")
            for rule in policy["spec"]["ingress"]
            for port in rule["ports"]
        }
        for name, policy in policies.items()
    }
    given = EVERYTHING["networkPolicy"]
    metrics, own = given["metricsFrom"], [component_of(name) for name in ("reconciler", "test")]
    assert taken == {
        "gateway": {8080: [*given["callersFrom"], *own], 9090: metrics},
        "consumer": {9091: metrics},
        "reconciler": {9095: metrics},
        "spend-guard": {8081: given["callersFrom"], 9096: metrics},
        "topics": {},
        "migrate": {},
        "test": {},
    }
    for policy in policies.values():
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]


def component_of(name: str) -> dict[str, Any]:
    """How a policy names the pods of a component."""
    labels = {"name": "billing-stream", "instance": "live", "component": name}
    matched = {f"app.kubernetes.io/{label}": value for label, value in labels.items()}
    return {"podSelector": {"matchLabels": matched}}


def test_the_policy_of_a_job_is_there_before_the_job() -> None:
    jobs = kinds("Job", EVERYTHING)
    # It comes when everything is there.
    assert jobs.pop("test")["metadata"]["annotations"]["helm.sh/hook"] == "test"
    for component, policy in kinds("NetworkPolicy", EVERYTHING).items():
        notes = policy["metadata"].get("annotations", {})
        assert ("helm.sh/hook" in notes) == (component in jobs)
        if component in jobs:
            job = jobs[component]["metadata"]["annotations"]
            assert notes["helm.sh/hook"] == job["helm.sh/hook"]
            assert int(notes["helm.sh/hook-weight"]) < int(job["helm.sh/hook-weight"])


def test_callers_from_outside_reach_the_callbacks_and_nothing_else() -> None:
    service = next(
        m
        for m in manifests(EVERYTHING)
        if m["kind"] == "Service" and m["metadata"]["name"].endswith("-gateway")
    )
    name, port = service["metadata"]["name"], service["spec"]["ports"][0]
    (rule,) = kinds("Ingress", EVERYTHING)["gateway"]["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert path == {
        "path": "/v1",
        "pathType": "Prefix",
        "backend": {"service": {"name": name, "port": {"name": port["name"]}}},
    }
    (route,) = kinds("HTTPRoute", EVERYTHING)["gateway"]["spec"]["rules"]
    assert route["backendRefs"] == [{"name": name, "port": port["port"]}]
    assert route["matches"] == [{"path": {"type": "PathPrefix", "value": "/v1"}}]
    for lacking, named in (("ingress", "hosts"), ("httpRoute", "parentRefs")):
        with pytest.raises(helm.HelmRenderError, match=f"gateway.{lacking}.{named}"):
            texts({"gateway": {lacking: {"enabled": True}}})


def test_each_room_has_an_account_of_its_own_unless_one_is_named() -> None:
    used = {
        room: m["spec"]["template"]["spec"]["serviceAccountName"] for room, m in rooms().items()
    }
    made = {m["metadata"]["name"] for m in kinds("ServiceAccount", OPTIONAL).values()}
    assert set(used.values()) == made
    assert len(made) == len(ROOMS)
    for create in (True, False):
        values: Values = {"serviceAccount": {"create": create, "name": "ours"}}
        named = {
            m["spec"]["template"]["spec"]["serviceAccountName"] for m in rooms(values).values()
        }
        assert named == {"ours"}
        made = {m["metadata"]["name"] for m in manifests(values) if m["kind"] == "ServiceAccount"}
        assert made == ({"ours"} if create else set())


def test_every_pod_may_be_placed_and_given_more() -> None:
    for component, pod in workloads(EVERYTHING):
        container = pod["containers"][0]
        assert pod["nodeSelector"] == {"kubernetes.io/arch": "amd64"}, component
        assert pod["tolerations"] == [{"key": "billing", "operator": "Exists"}]
        assert pod["priorityClassName"] == "high"
        assert pod["hostAliases"] == [{"ip": "10.0.0.1", "hostnames": ["kafka"]}]
        assert pod["dnsConfig"] == {"options": [{"name": "ndots", "value": "1"}]}
        assert [one["name"] for one in pod["initContainers"]] == ["first"]
        assert container["envFrom"] == [{"configMapRef": {"name": "settings"}}]
        assert {"name": "more", "mountPath": "/more"} in container["volumeMounts"]
        assert {"name": "more", "emptyDir": {}} in pod["volumes"]
        beside = [one["name"] for one in pod["containers"][1:]]
        assert beside == (["proxy"] if component in ROOMS else [])


@pytest.mark.parametrize("room", ROOMS)
def test_pods_are_spread_over_nodes_unless_the_values_say_how(room: str) -> None:
    template = rooms()[room]["spec"]["template"]
    (constraint,) = template["spec"]["topologySpreadConstraints"]
    assert constraint["topologyKey"] == "kubernetes.io/hostname"
    assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"
    chosen = constraint["labelSelector"]["matchLabels"].items()
    assert chosen <= template["metadata"]["labels"].items()
    given = EVERYTHING["spendGuard" if room == "spend-guard" else room]["topologySpreadConstraints"]
    spec = rooms(EVERYTHING)[room]["spec"]["template"]["spec"]
    assert spec["topologySpreadConstraints"] == given


@pytest.mark.parametrize("component", ["consumer", "spend-guard", "migrate"])
def test_whoever_speaks_to_the_database_checks_its_certificate(component: str) -> None:
    found = environment(component, EVERYTHING)
    assert found["PGSSLMODE"] == "verify-full"
    pod = dict(workloads(EVERYTHING))[component]
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "database-tls"]
    # libpq refuses a key that others may read; one that belongs to root may be read by a group.
    assert volume["secret"] == {"secretName": "database-authority", "defaultMode": 0o440}
    for name, file in (("ROOTCERT", "ca.crt"), ("CERT", "tls.crt"), ("KEY", "tls.key")):
        assert found[f"PGSSL{name}"] == f"{mounts['database-tls']}/{file}"
    for other in ("gateway", "topics"):
        assert not [name for name in environment(other, EVERYTHING) if name.startswith("PG")]


def test_finished_jobs_go_after_a_week_or_stay() -> None:
    for job in kinds("Job").values():
        assert job["spec"]["ttlSecondsAfterFinished"] == 7 * 24 * 3600
    jobs = ("topics", "migrations", "selfTest")
    forever: Values = {name: {"ttlSecondsAfterFinished": None} for name in jobs}
    for job in kinds("Job", forever).values():
        assert "ttlSecondsAfterFinished" not in job["spec"]


def test_the_self_test_asks_the_service_and_reads_with_a_user_that_may() -> None:
    asked = environment("test")
    assert asked["GATEWAY_URL"] == "http://live-billing-stream-gateway:8080"
    secret = asked["DATABASE_URL"]["secretKeyRef"]["name"]
    owner = environment("test", {"migrations": {"existingSecret": "owner"}})["DATABASE_URL"]
    reader = environment(
        "test",
        {"migrations": {"existingSecret": "owner"}, "selfTest": {"existingSecret": "reader"}},
    )["DATABASE_URL"]
    assert secret == environment("consumer")["DATABASE_URL"]["secretKeyRef"]["name"]
    assert owner["secretKeyRef"]["name"] == "owner"
    assert reader["secretKeyRef"]["name"] == "reader"
    assert "test" not in kinds("Job", {"selfTest": {"enabled": False}})
    assert "test" not in kinds("Job", {"consumer": {"enabled": False}})
