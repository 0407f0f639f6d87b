"""What the chart gives to Prometheus, Grafana and networks, and to every pod."""

import json
from typing import Any

import pytest
import yaml

from tests.kubernetes.chart import (
    EVERYTHING,
    OPTIONAL,
    ROOMS,
    ROOT,
    Values,
    environment,
    kinds,
    manifests,
    rooms,
    workloads,
)


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
