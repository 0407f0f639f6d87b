"""How many pods the chart asks for, and who else may: scalers, `kubectl scale`."""

from typing import Any

import helm_python as helm
import pytest

from schemas.topics import load_topics
from spend_guard.settings import Settings
from tests.kubernetes.chart import (
    CHART,
    EVERYTHING,
    NO_SPOOL,
    ROOT,
    SPEND_GUARD,
    Values,
    kinds,
    rooms,
    texts,
)

SCALED = {"gateway": "gateway", "consumer": "consumer", "spend-guard": "spendGuard"}
"""What may have a scaler, and its key among the values."""


def scaled(room: str, **more: Any) -> Values:  # noqa: ANN401 - also wrong types
    """Values with a scaler on."""
    return {SCALED[room]: {"autoscaling": {"enabled": True, **more}}}


@pytest.mark.parametrize("room", SCALED)
@pytest.mark.parametrize(
    "values", [{"autoscaling": {"enabled": True}}, {"replicas": None}], ids=["scaler", "null"]
)
def test_the_number_of_pods_is_left_to_whoever_keeps_it(room: str, values: Values) -> None:
    """With Helm 4 a field that a scaler has set makes each later upgrade and rollback fail."""
    prometheus = {"consumer": {"autoscaling": {"prometheusAddress": "http://prometheus"}}}
    found = rooms({SCALED[room]: values}, prometheus)
    assert "replicas" not in found[room]["spec"]
    for other in {*SCALED} - {room}:
        assert found[other]["spec"]["replicas"] == 2
    assert "replicas" not in rooms({"reconciler": {"replicas": None}})["reconciler"]["spec"]


@pytest.mark.parametrize("room", SCALED)
def test_a_number_of_pods_that_is_given_is_kept_also_where_it_is_none(room: str) -> None:
    found = rooms({SCALED[room]: {"replicas": 0}})
    assert found[room]["spec"]["replicas"] == 0


@pytest.mark.parametrize("spool", [{}, NO_SPOOL], ids=["spool", "no spool"])
def test_a_scaler_names_what_it_scales(spool: Values) -> None:
    guard: Values = {"spendGuard": SPEND_GUARD}
    layers = (spool, guard, scaled("gateway"), scaled("consumer", by="cpu"), scaled("spend-guard"))
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


@pytest.mark.parametrize("room", ["gateway", "spend-guard"])
def test_fewest_pods_are_no_more_than_most(room: str) -> None:
    wrong = rf"{SCALED[room]}\.autoscaling: minReplicas 9 is more than maxReplicas \d"
    with pytest.raises(helm.HelmRenderError, match=wrong):
        texts({"spendGuard": SPEND_GUARD}, scaled(room, minReplicas=9))


def test_a_spend_guard_has_no_scaler_unless_both_are_wanted() -> None:
    assert kinds("HorizontalPodAutoscaler", {"spendGuard": SPEND_GUARD}) == {}
    assert kinds("HorizontalPodAutoscaler", scaled("spend-guard")) == {}
    scaler = kinds("HorizontalPodAutoscaler", EVERYTHING)["spend-guard"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 4)
    assert [metric["resource"]["name"] for metric in scaler["metrics"]] == ["cpu"]
    # Without a request there is no share of it.
    (container,) = rooms()["spend-guard"]["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"]["cpu"]


def test_the_connections_that_a_spend_guard_takes_begin_with_the_default() -> None:
    default = Settings.model_fields["spend_guard_connections"].default
    assert f"SPEND_GUARD_CONNECTIONS ({default}) + 5" in (CHART / "values.yaml").read_text()
