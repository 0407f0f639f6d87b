"""The chart as Helm's own engine renders it: no cluster, no helm binary."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "billing-stream"

MAKES_PODS = {"Deployment", "StatefulSet", "Job"}

Values = dict[str, Any]
Manifest = dict[str, Any]

FOREIGN_APIS = {"keda.sh/v1alpha1", "monitoring.coreos.com/v1", "gateway.networking.k8s.io/v1"}
"""What a cluster has only with the operator that brings it; Kubernetes has no schema of these."""

REQUIRED: Values = {
    "image": {"repository": "registry.example/billing-stream"},
    "kafka": {"bootstrapServers": "kafka.example:9092"},
    "database": {"existingSecret": "billing-database"},
    "ingestTokens": {"existingSecret": "billing-tokens"},
}
PLACED: Values = {
    "envFrom": [{"configMapRef": {"name": "settings"}}],
    "extraVolumes": [{"name": "more", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    "initContainers": [{"name": "first", "image": "registry.example/first"}],
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "billing", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "priorityClassName": "high",
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["kafka"]}],
    "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
}
"""What every pod may have."""
RECONCILER: Values = {
    "enabled": True,
    "litellm": {"url": "http://litellm.example:4000", "existingSecret": "litellm-admin"},
    "source": "eu",
}
SPEND_GUARD: Values = {"enabled": True, "existingSecret": "billing-spend-guard"}
ENTERED: Values = {
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "annotations": {"example.com/issuer": "ours"},
        "hosts": ["billing.example"],
        "tls": [{"secretName": "billing-tls", "hosts": ["billing.example"]}],
    },
    "httpRoute": {
        "enabled": True,
        "parentRefs": [{"name": "public"}],
        "hostnames": ["billing.example"],
    },
}
"""What callers outside the cluster come in by."""
OPTIONAL: Values = {"reconciler": RECONCILER, "spendGuard": SPEND_GUARD}
ROOMS = ("gateway", "consumer", "reconciler", "spend-guard")
EVERYTHING: Values = {
    "image": {"digest": "sha256:" + "0" * 64},
    "imagePullSecrets": [{"name": "registry"}],
    "kafka": {
        "topicPrefix": "staging.",
        "securityProtocol": "SASL_SSL",
        "sasl": {"mechanism": "SCRAM-SHA-512", "existingSecret": "billing-kafka"},
        "tls": {"existingSecret": "kafka-authority", "clientCertificate": True},
    },
    "database": {"tls": {"existingSecret": "database-authority", "clientCertificate": True}},
    "migrations": {"existingSecret": "billing-owner", **PLACED},
    "topics": PLACED,
    "selfTest": PLACED,
    "networkPolicy": {
        "enabled": True,
        "callersFrom": [{"namespaceSelector": {"matchLabels": {"team": "models"}}}],
        "metricsFrom": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}],
        "kafkaTo": [{"ipBlock": {"cidr": "10.1.0.0/16"}}],
        "kafkaPorts": [9092, 9093],
        "databaseTo": [{"ipBlock": {"cidr": "10.2.0.0/16"}}],
        "databasePort": 6432,
        "litellmTo": [{"namespaceSelector": {"matchLabels": {"team": "models"}}}],
        "litellmPorts": [4000],
        "extraEgress": [{"ports": [{"port": 443, "protocol": "TCP"}]}],
    },
    "monitoring": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
        "dashboards": {"enabled": True},
    },
    "billing": {
        "markup": "1.25",
        "freeModels": ["local-*", "llama"],
        "accountFrom": ["user_api_key_team_id", "end_user"],
        "attributionKeys": {"existingSecret": "billing-attribution"},
        "signedAccountsOnly": True,
    },
    "serviceAccount": {"annotations": {"example.com/role": "billing"}},
    **{
        room: {
            **extra,
            "podDisruptionBudget": {"enabled": True},
            "extraEnv": [
                {"name": "LOG_LEVEL", "value": "debug"},
                {"name": "A_TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            ],
            "podAnnotations": {"example.com/note": "true"},
            "podLabels": {"team": "billing"},
            **PLACED,
            "extraContainers": [{"name": "proxy", "image": "registry.example/proxy"}],
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "ScheduleAnyway",
                }
            ],
        }
        for room, extra in (
            (
                "gateway",
                {
                    "spool": {"storageClass": "fast"},
                    "autoscaling": {"enabled": True},
                    **ENTERED,
                },
            ),
            (
                "consumer",
                {"autoscaling": {"enabled": True, "prometheusAddress": "http://prometheus:9090"}},
            ),
            ("reconciler", RECONCILER),
            ("spendGuard", {**SPEND_GUARD, "autoscaling": {"enabled": True}, **ENTERED}),
        )
    },
}
NO_SPOOL: Values = {"gateway": {"spool": {"enabled": False}}}
ALL_OFF: Values = {
    "gateway": {"enabled": False},
    "consumer": {"enabled": False},
    "reconciler": {"enabled": False},
    "spendGuard": {"enabled": False},
    "topics": {"enabled": False},
    "migrations": {"enabled": False},
}


def merge(*layers: Values) -> Values:
    """The layers as one tree, later ones first: what several --values files do."""
    merged: Values = {}
    for layer in layers:
        for key, value in layer.items():
            old = merged.get(key)
            tree = isinstance(old, dict) and isinstance(value, dict)
            merged[key] = merge(merged[key], value) if tree else value
    return merged


def texts(*layers: Values, name: str = "live") -> dict[str, str]:
    """Every template's text as Helm renders it with the values over the required ones."""
    with helm.Chart.load(CHART) as chart:
        rendered: dict[str, str] = chart.render(
            merge(REQUIRED, *layers), name=name, namespace="money"
        )
    return rendered


def documents(rendered: Mapping[str, str]) -> list[Manifest]:
    """What is in the texts of templates, but for what is told to whoever installs."""
    return [
        document
        for path, text in rendered.items()
        if not path.endswith("NOTES.txt")
        for document in yaml.load_all(text, yaml.CSafeLoader)
        if document is not None
    ]


def manifests(*layers: Values, name: str = "live") -> list[Manifest]:
    """Every document that would reach the cluster."""
    return documents(texts(*layers, name=name))


def workloads(*layers: Values) -> Iterator[tuple[str, Manifest]]:
    """Component and pod spec of everything that makes pods."""
    for manifest in manifests(*layers):
        if manifest["kind"] in MAKES_PODS:
            component = manifest["metadata"]["labels"]["app.kubernetes.io/component"]
            yield component, manifest["spec"]["template"]["spec"]


def environment(component: str, *layers: Values) -> dict[str, Any]:
    """Variables of the component's only container: text, or the reference it comes from."""
    pod = dict(workloads(*layers))[component]
    pairs = [
        (variable["name"], variable.get("value", variable.get("valueFrom")))
        for variable in pod["containers"][0]["env"]
    ]
    assert len(dict(pairs)) == len(pairs), "a variable is set twice"
    return dict(pairs)


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
