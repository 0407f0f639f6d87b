"""Alerts and dashboard ask only for what the rooms measure, and say what to do."""

import functools
import json
import re
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import yaml

import consumer.metrics
import reconciler.metrics
import runtime.metrics
import spend_guard.metrics
from producer_gateway.metrics import Metrics
from tests.doubles.litellm_stub import Router, loaded
from tests.kubernetes.chart import EVERYTHING, MAKES_PODS, manifests

DEPLOY = Path(__file__).parents[2] / "deploy"
TARGET_LABELS = {"job", "instance", "le"}
METRIC = re.compile(r"\b((?:external_)?billing_[a-z_]+?)(?:_bucket|_sum|_count)?\b(?=[\[{\s)]|$)")


@functools.cache
def of_the_plugin() -> Any:  # noqa: ANN401 - of a module that is loaded from its file
    """What LiteLLM counts, with the plugin of the spend guard."""
    with loaded({}, Router()) as plugin:
        return plugin.OUTCOMES


def measured() -> dict[str, set[str]]:
    """Every metric of the rooms and the plugin, by its name in Prometheus, with its labels."""
    collectors = [
        *vars(consumer.metrics).values(),
        *vars(reconciler.metrics).values(),
        *vars(spend_guard.metrics).values(),
        *vars(runtime.metrics).values(),
        *vars(Metrics()).values(),
        of_the_plugin(),
    ]
    return {
        family.name + ("_total" if family.type == "counter" else ""): set(
            getattr(collector, "_labelnames", ())  # the only place that knows
        )
        for collector in collectors
        if isinstance(
            collector, prometheus_client.metrics.MetricWrapperBase | runtime.metrics.BulkHistogram
        )
        for family in collector.describe()
    }


def exposed(metrics: Metrics) -> dict[str, prometheus_client.Metric]:
    """Every metric of the rooms as it is scraped, by the name that Prometheus sees."""
    registries = (metrics.registry, prometheus_client.REGISTRY)
    return {
        family.name + ("_total" if family.type == "counter" else ""): family
        for registry in registries
        for family in registry.collect()
    }


def former() -> set[str]:
    """The names that a metric of another name had before, and has for this release."""
    said = "The former name of "
    return {n for n, found in exposed(Metrics()).items() if found.documentation.startswith(said)}


def test_a_metric_that_was_renamed_tells_the_same_under_both_names() -> None:
    metrics, place = Metrics(), ("topic-of-this-test", "3")
    metrics.callbacks.labels("accepted").inc(7)
    metrics.lenient_callbacks.inc(2)
    committed = consumer.metrics.COMMITTED_OFFSET
    committed.labels(*place).set(41)
    consumer.metrics.OLDEST_SECONDS.labels(*place).set_function(lambda: 1.5)
    told = exposed(metrics)
    for now, before, value in (
        ("billing_gateway_callbacks_total", "billing_gateway_elements_total", 7),
        ("billing_gateway_lenient_callbacks_total", "billing_gateway_lenient_elements_total", 2),
        (
            "billing_consumer_oldest_uncommitted_seconds",
            "billing_consumer_oldest_unsettled_seconds",
            1.5,
        ),
        ("billing_consumer_committed_offset", "billing_consumer_settled_offset", 41),
    ):
        new, old = (
            {(*one.labels.items(), one.name.endswith("_created")): one.value for one in kept}
            for kept in (told[now].samples, told[before].samples)
        )
        assert new == old
        assert value in old.values()
    assert former() == {"billing_gateway_elements_total", "billing_gateway_lenient_elements_total",
                        "billing_consumer_oldest_unsettled_seconds",
                        "billing_consumer_settled_offset"}  # fmt: skip
    committed.remove(*place)
    consumer.metrics.OLDEST_SECONDS.remove(*place)
    assert "topic-of-this-test" not in prometheus_client.generate_latest().decode()


def alerts() -> list[dict[str, Any]]:
    """The alert rules."""
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


DASHBOARDS = {
    path.stem: json.loads(path.read_text())
    for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
}


def panels(name: str) -> list[dict[str, Any]]:
    """The panels of a dashboard that ask for something."""
    return [panel for panel in DASHBOARDS[name]["panels"] if panel["type"] != "row"]


def expressions() -> list[tuple[str, str]]:
    """Every query of Prometheus, with the alert or panel that asks it."""
    asked = [(rule["alert"], rule["expr"]) for rule in alerts()]
    every = [panel for name in DASHBOARDS for panel in panels(name)]
    return asked + [(p["title"], t["expr"]) for p in every for t in p["targets"] if "expr" in t]


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_every_query_asks_for_what_is_measured(where: str, expression: str) -> None:
    known = measured()
    names = set(METRIC.findall(expression))
    assert names or "up{" in expression, f"{where}: asks for no metric of ours"
    assert names <= set(known), where
    labels = TARGET_LABELS.union(*(known[name] for name in names))
    asked = set(re.findall(r"(\w+)=~?\"", expression))
    for group in re.findall(r"by \(([^)]*)\)", expression):
        asked.update(part.strip() for part in group.split(","))
    assert asked <= labels, where


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
def test_every_alert_says_what_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description"}
    used = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
    kept = set(re.findall(r"by \(([^)]*)\)", rule["expr"]))
    aggregated = {part.strip() for group in kept for part in group.split(",")}
    assert used <= (aggregated or TARGET_LABELS), "the label is gone once the query has summed"


def test_jobs_of_the_alerts_are_scraped() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    scraped = {job["job_name"] for job in config["scrape_configs"]}
    asked = {job for rule in alerts() for job in re.findall(r'job="([^"]+)"', rule["expr"])}
    assert asked == scraped
    assert config["rule_files"] == ["alerts.yml"]


def test_the_jobs_for_kubernetes_keep_the_pods_of_the_chart() -> None:
    plain = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    config = yaml.safe_load((DEPLOY / "prometheus" / "kubernetes.yml").read_text())
    kept = {}
    for job in config["scrape_configs"]:
        keep, name = job["relabel_configs"]
        assert keep["action"] == "keep"
        assert name["target_label"] == "instance"
        assert name["source_labels"][-1] == "__meta_kubernetes_pod_name"
        kept[job["job_name"]] = (keep["source_labels"], keep["regex"])
    assert list(kept) == [job["job_name"] for job in plain["scrape_configs"]]
    found = {}
    for manifest in manifests(EVERYTHING):
        if manifest["kind"] in MAKES_PODS:
            pod = manifest["spec"]["template"]
            for port in pod["spec"]["containers"][0].get("ports", []):
                labels = {
                    "__meta_kubernetes_pod_label_" + re.sub(r"\W", "_", key): text
                    for key, text in pod["metadata"]["labels"].items()
                }
                labels["__meta_kubernetes_pod_container_port_name"] = port["name"]
                component = manifest["metadata"]["labels"]["app.kubernetes.io/component"]
                for name, (sources, regex) in kept.items():
                    if re.fullmatch(regex, ";".join(labels[source] for source in sources)):
                        found[name] = (component, port["name"])
    assert found == {
        "billing-gateway": ("gateway", "metrics"),
        "billing-consumer": ("consumer", "metrics"),
        "billing-reconciler": ("reconciler", "metrics"),
        "billing-spend-guard": ("spend-guard", "metrics"),
    }


def test_lost_usage_has_an_alert() -> None:
    # Every 4xx is lost usage (that each fires is seen in test_alerts.py), a conflict is a wrong
    # bill: the design alarms each.
    text = " ".join(rule["expr"] for rule in alerts())
    assert "billing_gateway_auth_failures_total" in text
    assert 'status=~"404|405"' in text
    assert 'status=~"4..",status!~"401|404|405"' in text
    assert 'outcome="conflict"' in text
    assert "billing_deferred_paid_model_calls_total" in text


@pytest.mark.parametrize("name", DASHBOARDS)
def test_dashboard_panels_neither_overlap_nor_share_an_id(name: str) -> None:
    every = DASHBOARDS[name]["panels"]
    cells = [
        (x, y)
        for panel in every
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in every}) == len(every)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_whom_a_dashboard_asks_is_a_choice_of_the_one_who_imports_it(name: str) -> None:
    """Its variables are of the kinds that its panels need, and nothing names one Grafana's own."""
    offered = {
        f"${{{one['name']}}}": one["query"] for one in DASHBOARDS[name]["templating"]["list"]
    }
    assert {one["type"] for one in DASHBOARDS[name]["templating"]["list"]} == {"datasource"}
    asked = [panel["datasource"] for panel in panels(name)]
    asked += [target["datasource"] for panel in panels(name) for target in panel["targets"]]
    assert {one["uid"]: one["type"] for one in asked} == offered


def test_every_panel_says_why_it_is_there() -> None:
    every = [panel for name in DASHBOARDS for panel in panels(name)]
    assert all(panel["description"].endswith(".") for panel in every)
    titles = [panel["title"] for panel in every]
    assert len(titles) == len(set(titles))
