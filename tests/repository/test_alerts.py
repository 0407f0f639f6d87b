"""Each alert fires when it should and stays quiet when it should not, as Prometheus' own tool says.

The cases stand in deploy/prometheus/tests; what is checked here is that they are complete.
"""

import functools
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.downloads.promtool import MissingError, program

PROMETHEUS = Path(__file__).parents[2] / "deploy" / "prometheus"
CASES = sorted((PROMETHEUS / "tests").glob("*.yml"))
EVERYTHING = {
    'count by (alertname, severity) (ALERTS{alertstate="firing"})',
    'ALERTS{alertstate="firing"}',
}
SECONDS = 600


@pytest.fixture(scope="module")
def promtool() -> str:
    """The tool."""
    try:
        return str(program("promtool"))
    except MissingError as missing:
        pytest.skip(str(missing))


@functools.cache
def cases() -> list[dict[str, Any]]:
    """All cases."""
    texts = [file.read_text() for file in CASES]
    return [case for text in texts for case in yaml.load(text, yaml.CSafeLoader)["tests"]]


def fired(look: dict[str, Any]) -> set[tuple[str, str]]:
    """The alerts that a case expects at one moment, with their severity."""
    labels = [sample["labels"] for sample in look.get("exp_samples", [])]
    return {
        (found[1], grade[1])
        for text in labels
        if (found := re.search(r'alertname="(\w+)"', text))
        and (grade := re.search(r'severity="(\w+)"', text))
    }


def rules() -> list[tuple[str, str]]:
    """Name and severity of every rule."""
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [(rule["alert"], rule["labels"]["severity"]) for g in groups for rule in g["rules"]]


def run(*command: str) -> None:
    """Run the tool; what it finds is the failure."""
    # It lives for seconds: a fifth of its work would be to look for garbage.
    told = {**os.environ, "GOGC": "400"}
    done = subprocess.run(
        command, env=told, capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_rules_are_rules(promtool: str) -> None:
    run(promtool, "check", "rules", "--lint-fatal", str(PROMETHEUS / "alerts.yml"))


@pytest.mark.slow
def test_the_configuration_is_one(promtool: str) -> None:
    # Not kubernetes.yml: Debian builds its promtool without the discovery of Kubernetes.
    run(promtool, "check", "config", str(PROMETHEUS / "prometheus.yml"))


@pytest.mark.slow
@pytest.mark.parametrize("file", CASES, ids=lambda file: str(file.stem))
def test_alerts_fire_and_stay_quiet(promtool: str, file: Path) -> None:
    run(promtool, "test", "rules", str(file))


@pytest.mark.parametrize("rule", sorted(set(rules())), ids="-".join)
def test_each_rule_is_seen_to_fire_and_to_stay_quiet(rule: tuple[str, str]) -> None:
    own = [case for case in cases() if case["name"].partition(":")[0] == rule[0]]
    looks = [fired(look) for case in own for look in case["promql_expr_test"]]
    assert any(rule in look for look in looks), "no case in which it fires"
    assert any(rule not in look for look in looks), "no case in which it is quiet"


def test_each_case_asks_for_everything_that_fires() -> None:
    for case in cases():
        named = case["name"].partition(":")[0]
        for look in case["promql_expr_test"]:
            assert look["expr"] in EVERYTHING, case["name"]
        assert named in {name for name, _ in rules()}


def test_rules_of_one_name_differ_in_severity_only_and_never_in_their_labels() -> None:
    # Two rules of one name and one severity would write the same series.
    assert len(rules()) == len(set(rules()))
