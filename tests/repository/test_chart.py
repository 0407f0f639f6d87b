"""What the chart makes of its values, checked against the schemas of Kubernetes."""

import re

import helm_python as helm
import kubernetes_validate
import pytest
import yaml

from tests.kubernetes.chart import (
    ALL_OFF,
    CHART,
    EVERYTHING,
    FOREIGN_APIS,
    MAKES_PODS,
    NO_SPOOL,
    REQUIRED,
    Values,
    environment,
    manifests,
    merge,
    texts,
    workloads,
)

WORKLOADS = {
    ("StatefulSet", "gateway"),
    ("Deployment", "consumer"),
    ("Job", "topics"),
    ("Job", "migrate"),
}
FIRST_AND_LAST_KUBERNETES = ("1.32", "1.37")
LAYERS = pytest.mark.parametrize(
    "values", [{}, EVERYTHING, NO_SPOOL], ids=["defaults", "everything", "no spool"]
)


def test_everything_disabled_renders_nothing() -> None:
    assert manifests(ALL_OFF) == []


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_rooms_and_jobs_are_rendered(values: Values) -> None:
    found = {
        (m["kind"], m["metadata"]["labels"]["app.kubernetes.io/component"])
        for m in manifests(values)
    }
    assert found >= WORKLOADS
    assert {m["metadata"]["namespace"] for m in manifests(values)} == {"money"}


@pytest.mark.parametrize("kubernetes", FIRST_AND_LAST_KUBERNETES)
@LAYERS
def test_manifests_are_valid_kubernetes(values: Values, kubernetes: str) -> None:
    for manifest in manifests(values):
        if manifest["apiVersion"] in FOREIGN_APIS:
            continue
        checked_against = kubernetes_validate.validate(manifest, kubernetes, strict=True)
        assert checked_against == kubernetes


def test_first_kubernetes_is_the_one_the_chart_claims() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    first, last = FIRST_AND_LAST_KUBERNETES
    assert chart["kubeVersion"] == f">={first}.0-0"
    assert last == kubernetes_validate.latest_version().removesuffix(".0")


@LAYERS
def test_helm_lint_has_nothing_to_say(values: Values) -> None:
    report = helm.lint(CHART, merge(REQUIRED, values), strict=True)
    assert report["errors"] == []
    assert [m["error"] for m in report["messages"]] == ["icon is recommended"]


def test_rendered_lines_end_without_blanks() -> None:
    rendered = {p: t for p, t in texts(EVERYTHING).items() if not p.endswith("NOTES.txt")}
    assert {p for p, t in rendered.items() if re.search(r"[ \t]$", t, re.MULTILINE)} == set()


def test_names_fit_however_long_the_release_is() -> None:
    for manifest in manifests(EVERYTHING, name="x" * 53):
        assert len(manifest["metadata"]["name"]) <= 63
        assert manifest["metadata"]["name"].strip("-") == manifest["metadata"]["name"]
        if manifest["kind"] == "StatefulSet":
            # Each pod has a label of this name, a hyphen and ten characters.
            assert len(manifest["metadata"]["name"]) <= 52


@LAYERS
def test_selectors_match_the_pods_of_their_component_only(values: Values) -> None:
    rendered = manifests(values)
    pods = [
        m["spec"]["template"]["metadata"]["labels"] for m in rendered if m["kind"] in MAKES_PODS
    ]
    for manifest in rendered:
        spec = manifest.get("spec", {})
        # A ServiceMonitor selects a Service.
        if manifest["apiVersion"] in FOREIGN_APIS:
            continue
        if selector := spec.get("selector", spec.get("podSelector")):
            wanted = selector.get("matchLabels", selector).items()
            assert len([p for p in pods if wanted <= p.items()]) == 1, manifest["metadata"]


def test_pods_are_locked_down() -> None:
    for component, pod in workloads(EVERYTHING):
        container = pod["containers"][0]
        assert pod["securityContext"]["runAsNonRoot"] is True, component
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_kubernetes_invents_no_variables_in_the_pods() -> None:
    # A Service named "gateway" would otherwise set GATEWAY_PORT=tcp://..., one named "kafka"
    # KAFKA_PORT: names that the rooms read or refuse.
    assert [pod["enableServiceLinks"] for _, pod in workloads()] == [False] * 5


def test_probes_and_ports_agree_with_the_environment() -> None:
    pods = dict(workloads())
    for room, prefix in (("gateway", "GATEWAY"), ("consumer", "CONSUMER")):
        container = pods[room]["containers"][0]
        ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
        env = environment(room)
        assert ports["metrics"] == env[f"{prefix}_METRICS_PORT"]
        assert env[f"{prefix}_METRICS_HOST"] == "0.0.0.0"  # noqa: S104 - a pod of its own
        assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "metrics"}
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
    assert pods["gateway"]["containers"][0]["ports"][0] == {"name": "http", "containerPort": 8080}
    assert environment("gateway")["GATEWAY_PORT"] == "8080"


def test_metrics_are_never_on_the_service_of_the_ingest() -> None:
    services = {m["metadata"]["name"]: m["spec"] for m in manifests() if m["kind"] == "Service"}
    ports = {
        name: [(port["targetPort"], port["port"]) for port in spec["ports"]]
        for name, spec in services.items()
    }
    assert ports == {
        "live-billing-stream-gateway": [("http", 8080)],
        "live-billing-stream-gateway-metrics": [("metrics", 9090)],
        "live-billing-stream-consumer-metrics": [("metrics", 9091)],
    }


def test_jobs_run_before_the_rooms_topics_first() -> None:
    jobs = {
        m["spec"]["template"]["spec"]["containers"][0]["name"]: m
        for m in manifests()
        if m["kind"] == "Job"
    }
    test = jobs.pop("test")["metadata"]["annotations"]
    assert test == {"helm.sh/hook": "test", "helm.sh/hook-delete-policy": "before-hook-creation"}
    for job in jobs.values():
        annotations = job["metadata"]["annotations"]
        assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
        # The chart's own account does not exist yet when a hook runs.
        assert job["spec"]["template"]["spec"]["serviceAccountName"] == "default"
    weights = {
        name: int(j["metadata"]["annotations"]["helm.sh/hook-weight"]) for name, j in jobs.items()
    }
    assert weights["topics"] < weights["migrate"] < 0


def test_commands_are_the_rooms_own() -> None:
    assert {component: pod["containers"][0]["args"] for component, pod in workloads()} == {
        "gateway": ["producer_gateway", "run"],
        "consumer": ["consumer", "run"],
        "topics": ["consumer", "topics", "--apply"],
        "migrate": ["consumer", "migrate"],
        "test": ["operator_cli", "doctor", "--receipt", "--wait", "60"],
    }
