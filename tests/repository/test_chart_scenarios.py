"""The chart's scenarios, `ci/*-values.yaml`: each is enough by itself, and valid Kubernetes."""

from pathlib import Path
from typing import Any, Final

import helm_python as helm
import kubernetes_validate
import pytest
import yaml

from tests.kubernetes.chart import CHART, FOREIGN_APIS, MAKES_PODS, documents

SCENARIOS: Final = sorted((Path(CHART) / "ci").glob("*-values.yaml"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_scenario_needs_nothing_else_and_is_valid(path: Path) -> None:
    values: dict[str, Any] = yaml.safe_load(path.read_text())
    report = helm.lint(CHART, values, strict=True)
    assert report["errors"] == []
    with helm.Chart.load(CHART) as chart:
        made = documents(chart.render(values, name="live", namespace="money"))
    assert {one["kind"] for one in made} & MAKES_PODS
    for manifest in made:
        if manifest["apiVersion"] not in FOREIGN_APIS:
            kubernetes_validate.validate(manifest, "1.32", strict=True)


def test_each_scenario_says_what_it_is_for() -> None:
    assert len(SCENARIOS) >= 4
    assert all(path.read_text().startswith("# ") for path in SCENARIOS)
