"""What callers outside the cluster reach: what LiteLLM asks, and nothing else."""

import json

import helm_python as helm
import pytest

from tests.kubernetes.chart import (
    ENTERED,
    EVERYTHING,
    OPTIONAL,
    ROOT,
    SPEND_GUARD,
    Manifest,
    kinds,
    manifests,
    texts,
)

ENTRANCES = pytest.mark.parametrize(
    ("room", "key", "begins"),
    [("gateway", "gateway", "/v1"), ("spend-guard", "spendGuard", "/v1/holds")],
    ids=["gateway", "spend guard"],
)


def service_of(room: str) -> Manifest:
    """The Service of what the room is asked, not that of its metrics."""
    name = f"live-billing-stream-{room}"
    (found,) = [
        one
        for one in manifests(EVERYTHING)
        if one["kind"] == "Service" and one["metadata"]["name"] == name
    ]
    return found


@ENTRANCES
def test_callers_from_outside_reach_what_litellm_asks_and_nothing_else(
    room: str, key: str, begins: str
) -> None:
    service = service_of(room)
    name, (port,) = service["metadata"]["name"], service["spec"]["ports"]
    assert port["targetPort"] == "http"
    (rule,) = kinds("Ingress", EVERYTHING)[room]["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert path == {
        "path": begins,
        "pathType": "Prefix",
        "backend": {"service": {"name": name, "port": {"name": port["name"]}}},
    }
    (route,) = kinds("HTTPRoute", EVERYTHING)[room]["spec"]["rules"]
    assert route["backendRefs"] == [{"name": name, "port": port["port"]}]
    assert route["matches"] == [{"path": {"type": "PathPrefix", "value": begins}}]
    for lacking, named in (("ingress", "hosts"), ("httpRoute", "parentRefs")):
        with pytest.raises(helm.HelmRenderError, match=f"{key}.{lacking}.{named}"):
            texts({"spendGuard": SPEND_GUARD}, {key: {lacking: {"enabled": True}}})


@ENTRANCES
def test_an_ingress_has_the_certificate_and_the_notes_that_are_given(
    room: str, key: str, begins: str
) -> None:
    ingress = kinds("Ingress", EVERYTHING)[room]
    given = EVERYTHING[key]["ingress"]
    assert begins in json.dumps(ingress)
    assert ingress["spec"]["tls"] == given["tls"]
    assert ingress["spec"]["ingressClassName"] == given["className"]
    assert ingress["metadata"]["annotations"] == given["annotations"]


@pytest.mark.parametrize("kind", ["Ingress", "HTTPRoute"])
def test_nothing_is_reached_from_outside_unless_it_is_wanted_and_runs(kind: str) -> None:
    assert kinds(kind, OPTIONAL) == {}
    assert kinds(kind, {"spendGuard": ENTERED}) == {}
    assert set(kinds(kind, {"spendGuard": {**SPEND_GUARD, **ENTERED}})) == {"spend-guard"}


def test_the_plugin_asks_what_may_be_asked_from_outside_and_money_is_moved_inside_only() -> None:
    interface = json.loads((ROOT / "schemas" / "openapi" / "spend-guard.json").read_text())
    outside = {path for path in interface["paths"] if f"{path}/".startswith("/v1/holds/")}
    assert outside == {"/v1/holds", "/v1/holds/{hold}/release"}
    plugin = (ROOT / "deploy" / "litellm" / "spend_guard.py").read_text()
    assert plugin.count('"/v1/') == plugin.count('"/v1/holds')
