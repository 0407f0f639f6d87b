"""Whatever runs as a process stands in image, chart, compose file and scrape jobs."""

import importlib
from typing import Final

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from tests.kubernetes.chart import MAKES_PODS, RECONCILER, SPEND_GUARD, manifests
from tests.processes.compiled import ROOMS as IN_THE_IMAGE
from tests.repository.test_docs import METRIC, ROOT, VARIABLE, settings
from tests.repository.test_observability import measured

PROCESSES: Final = sorted(path.parent.name for path in ROOT.glob("*/service.py"))
COMPOSE: Final = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def test_these_are_the_processes() -> None:
    assert {"producer_gateway", "consumer"} <= set(PROCESSES)


@pytest.mark.parametrize("room", PROCESSES)
def test_a_process_is_in_the_image_and_is_started_by_chart_and_compose(room: str) -> None:
    assert room in IN_THE_IMAGE
    started = [service.get("command") for service in COMPOSE.values()]
    assert [room, "run"] in started
    made = manifests({"reconciler": RECONCILER, "spendGuard": SPEND_GUARD})
    pods = [one["spec"]["template"] for one in made if one["kind"] in MAKES_PODS]
    assert [room, "run"] in [pod["spec"]["containers"][0].get("args") for pod in pods]


@pytest.mark.parametrize("room", PROCESSES)
def test_a_process_is_scraped(room: str) -> None:
    [name] = [name for name, service in COMPOSE.items() if service.get("command") == [room, "run"]]
    jobs = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    assert f"billing-{name}" in [job["job_name"] for job in jobs["scrape_configs"]]


@pytest.mark.parametrize("room", PROCESSES)
def test_the_pages_are_checked_for_the_names_of_a_process(room: str) -> None:
    """Its metrics and variables: a page that names one that is not there is wrong."""
    module = importlib.import_module(f"{room}.metrics")
    holder = module.Metrics() if hasattr(module, "Metrics") else module
    collectors = [one for one in vars(holder).values() if isinstance(one, MetricWrapperBase)]
    names = {family.name for one in collectors for family in one.describe()}
    assert names
    assert all(any(known.startswith(name) for known in measured()) for name in names)
    assert all(METRIC.fullmatch(name) for name in names if name.startswith("billing_"))
    [own] = [one for one in settings() if one.__module__ == f"{room}.settings"]
    variables = {(field.alias or name).upper() for name, field in own.model_fields.items()}
    prefixes = {name.partition("_")[0] for name in variables if VARIABLE.fullmatch(name)}
    assert prefixes - {"BILLING", "KAFKA"}, "VARIABLE of test_docs.py does not know its prefix"
