"""The gateway's spool in the chart: a volume for each pod, which stays when the pod goes."""

import re
import shutil
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml

from tests.kubernetes.chart import (
    CHART,
    EVERYTHING,
    NO_SPOOL,
    REQUIRED,
    Manifest,
    Values,
    environment,
    manifests,
    merge,
    texts,
    workloads,
)

GIB = 1024**3
IMMUTABLE = ("podManagementPolicy", "selector", "serviceName", "volumeClaimTemplates")


def gateway(*layers: Values) -> Manifest:
    """What makes the gateway's pods."""
    (found,) = [
        m
        for m in manifests(*layers)
        if m["kind"] in {"Deployment", "StatefulSet"}
        and m["metadata"]["labels"]["app.kubernetes.io/component"] == "gateway"
    ]
    return found


def spool(**values: Any) -> Values:  # noqa: ANN401 - also wrong types
    """Values of the spool."""
    return {"gateway": {"spool": values}}


def test_each_pod_has_a_volume_that_outlives_it() -> None:
    made = gateway()
    assert made["kind"] == "StatefulSet"
    (claim,) = made["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    kept = {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert made["spec"]["persistentVolumeClaimRetentionPolicy"] == kept


def test_the_gateway_spools_onto_that_volume_and_may_write_there() -> None:
    pod = dict(workloads())["gateway"]
    claim = gateway()["spec"]["volumeClaimTemplates"][0]["metadata"]["name"]
    mounted = {m["name"]: m["mountPath"] for m in pod["containers"][0]["volumeMounts"]}
    assert mounted[claim] == environment("gateway")["GATEWAY_SPOOL_DIR"]
    assert claim not in {volume["name"] for volume in pod["volumes"]}
    security = pod["securityContext"]
    assert security["fsGroup"] == security["runAsGroup"]


def test_the_bound_reaches_the_gateway_as_it_was_written() -> None:
    assert environment("gateway")["GATEWAY_SPOOL_MAX_BYTES"] == "4294967296"
    small = environment("gateway", spool(maxBytes=GIB, size="3Gi"))
    assert small["GATEWAY_SPOOL_MAX_BYTES"] == str(GIB)


def test_the_service_that_names_the_pods_is_there_and_headless() -> None:
    services = {m["metadata"]["name"]: m["spec"] for m in manifests() if m["kind"] == "Service"}
    assert services[gateway()["spec"]["serviceName"]]["clusterIP"] == "None"


@pytest.mark.parametrize(("values", "named"), [({}, None), (EVERYTHING, "fast")])
def test_the_storage_class_is_the_clusters_own_unless_named(
    values: Values, named: str | None
) -> None:
    claim = gateway(values)["spec"]["volumeClaimTemplates"][0]["spec"]
    assert claim.get("storageClassName") == named
    assert claim["resources"] == {"requests": {"storage": "10Gi"}}


def test_an_upgrade_asks_for_nothing_that_a_stateful_set_refuses(tmp_path: Path) -> None:
    newer = shutil.copytree(CHART, tmp_path / "newer")
    text = (newer / "Chart.yaml").read_text()
    (newer / "Chart.yaml").write_text(
        re.sub(r"ersion: [\d.]+$", "ersion: 99.0.0", text, flags=re.MULTILINE)
    )
    with helm.Chart.load(newer) as chart:
        rendered = chart.render(REQUIRED, name="live", namespace="money")
    upgraded = yaml.safe_load(rendered["billing-stream/templates/gateway.yaml"].split("\n---")[0])
    assert upgraded["metadata"]["labels"]["app.kubernetes.io/version"] == "99.0.0"
    for field in IMMUTABLE:
        assert upgraded["spec"][field] == gateway()["spec"][field], field


@pytest.mark.parametrize(
    ("size", "fits"),
    [
        ("2304Mi", True),
        ("2303Mi", False),
        ("3Gi", True),
        ("2Gi", False),
        ("3G", True),
        ("1T", True),
        (str(2304 * 1024**2), True),
        (str(2304 * 1024**2 - 1), False),
    ],
)
def test_the_spool_is_full_before_its_volume_is(size: str, fits: bool) -> None:  # noqa: FBT001 - a case
    values = spool(maxBytes=GIB, size=size)
    if fits:
        assert gateway(values)["kind"] == "StatefulSet"
        return
    with pytest.raises(helm.HelmRenderError, match=r"gateway\.spool\.size: .*2304Mi"):
        texts(values)


def test_without_a_spool_the_size_of_its_volume_does_not_matter() -> None:
    assert gateway(merge(NO_SPOOL, spool(size="1Mi")))["kind"] == "Deployment"


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (spool(enabled="yes"), "enabled"),
        (spool(maxBytes="4Gi"), "maxBytes"),
        (spool(size=8), "size"),
        (spool(size="8 Gi"), "size"),
        (spool(size="1.5Gi"), "size"),
        (spool(path="/tmp"), "path"),  # noqa: S108 - refused
    ],
    ids=str,
)
def test_schema_refuses_what_is_no_spool(values: Values, complaint: str) -> None:
    with pytest.raises(helm.HelmValuesError, match=complaint):
        texts(values)


def test_without_a_spool_the_gateway_is_a_deployment_that_names_no_directory() -> None:
    made = gateway(NO_SPOOL)
    assert made["kind"] == "Deployment"
    # Never fewer than asked for: what cannot be delivered is lost by the sender.
    assert made["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert not [name for name in environment("gateway", NO_SPOOL) if "SPOOL" in name]
    assert "volumeClaimTemplates" not in str(made)
    mounts = dict(workloads(NO_SPOOL))["gateway"]["containers"][0]["volumeMounts"]
    assert [mount["name"] for mount in mounts] == ["tmp"]


def test_a_gateway_has_time_to_read_a_large_spool_before_it_listens() -> None:
    def seconds(component: str, *layers: Values) -> int:
        probe = dict(workloads(*layers))[component]["containers"][0]["startupProbe"]
        allowed: int = probe["periodSeconds"] * probe["failureThreshold"]
        return allowed

    assert seconds("gateway") == 300
    assert seconds("gateway", NO_SPOOL) == seconds("consumer") == 60


def test_notes_say_what_stays_and_what_is_lost() -> None:
    notes = "billing-stream/templates/NOTES.txt"
    assert "before you scale down" in texts()[notes]
    assert "the gateway answers 503" in texts(NO_SPOOL)[notes]
