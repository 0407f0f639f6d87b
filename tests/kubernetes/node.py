"""One node that runs pods: controllers, scheduler, kubelet, kube-proxy, a bridge. Needs root.

It changes this machine while it runs: two bridges, rules of iptables, forwarding. At its end they
are as they were.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.kubernetes.api import RefusedError
from tests.kubernetes.control_plane import ADVERTISED, ControlPlane, running_control_plane
from tests.kubernetes.engine import CommandError, Engine, run, running_engine, tools
from tests.kubernetes.machine import FORWARDING, as_it_was, tried
from tests.kubernetes.programs import built
from tests.processes.process import Server
from tests.waiting import NET_SECONDS, eventually

NAME: Final = "node1"
PODS: Final = "10.88.0.0/24"
VOLUMES: Final = 4
NETWORK: Final = {
    "cniVersion": "0.4.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
        # The Docker engine lets nothing be forwarded that nobody has named.
        {"type": "firewall", "backend": "iptables"},
    ],
}


@dataclass(frozen=True)
class Node:
    """A Kubernetes whose pods run."""

    plane: ControlPlane
    engine: Engine


def kubelet_settings(engine: Engine) -> dict[str, Any]:
    """The kubelet's configuration."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADVERTISED,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": f"unix://{engine.containerd}",
        "cgroupDriver": "cgroupfs",
        "failSwapOn": False,
        "healthzBindAddress": "127.0.0.1",
        "enforceNodeAllocatable": [],
        "resolvConf": "/etc/resolv.conf",
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
        },
    }


def proxy_settings(plane: ControlPlane) -> dict[str, Any]:
    """kube-proxy's configuration."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(plane.kubeconfig("system:kube-proxy"))},
        "mode": "iptables",
        "clusterCIDR": PODS,
        "hostnameOverride": NAME,
        "metricsBindAddress": "127.0.0.1:10249",
        "healthzBindAddress": "127.0.0.1:10256",
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpCloseWaitTimeout": "0s",
            "tcpEstablishedTimeout": "0s",
        },
    }


def commands(plane: ControlPlane, engine: Engine) -> dict[str, list[str]]:
    """What runs beside the API server, by its name: its options."""
    directory = plane.directory
    (directory / "kubelet.yaml").write_text(yaml.safe_dump(kubelet_settings(engine)))
    (directory / "proxy.yaml").write_text(yaml.safe_dump(proxy_settings(plane)))
    return {
        "kube-controller-manager": [
            f"--kubeconfig={plane.kubeconfig('system:kube-controller-manager')}",
            f"--service-account-private-key-file={directory / 'accounts.key'}",
            f"--root-ca-file={plane.authority}",
            "--use-service-account-credentials=true",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
        ],
        "kube-scheduler": [
            f"--kubeconfig={plane.kubeconfig('system:kube-scheduler')}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
        ],
        "kubelet": [
            f"--kubeconfig={plane.kubeconfig(f'system:node:{NAME}')}",
            f"--config={directory / 'kubelet.yaml'}",
            f"--hostname-override={NAME}",
            f"--node-ip={ADVERTISED}",
            f"--root-dir={directory / 'kubelet'}",
            f"--cert-dir={directory / 'kubelet-pki'}",
        ],
        "kube-proxy": [f"--config={directory / 'proxy.yaml'}"],
    }


def volumes(directory: Path) -> list[dict[str, Any]]:
    """A class of local volumes, the default, and some of them: they take fsGroup as disks do."""
    metadata = {
        "name": "local",
        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
    }
    made: list[dict[str, Any]] = [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": metadata,
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        }
    ]
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NAME]}
    for number in range(VOLUMES):
        place = directory / "volumes" / str(number)
        place.mkdir(parents=True)
        spec = {
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "local",
            "local": {"path": str(place)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        }
        named = {"name": f"volume-{number}"}
        made.append(
            {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": named, "spec": spec}
        )
    return made


@contextmanager
def running_node(directory: Path) -> Iterator[Node]:
    """Start a Kubernetes of one node, for as long as the block.

    Args:
        directory: an empty one, with a short path, on a disk with some gigabytes.

    Raises:
        MissingError: a program cannot be had.
        ServerError: one of them ended.
        TimeoutError: the node does not get ready.
    """
    with ExitStack() as stack:
        stack.enter_context(as_it_was(directory, f"{tools(directory)}:{os.environ['PATH']}"))
        engine = stack.enter_context(running_engine(directory))
        stack.callback(_end_containers, engine)
        # A bridge without ports: not every kernel has devices that are called dummy.
        tried("ip", "link", "add", "kube0", "type", "bridge")
        tried("ip", "address", "add", f"{ADVERTISED}/32", "dev", "kube0")
        run(["ip", "link", "set", "kube0", "up"])
        FORWARDING.write_text("1")
        (directory / "cni").mkdir(exist_ok=True)
        (directory / "cni" / "10-pods.conflist").write_text(json.dumps(NETWORK))
        plane = stack.enter_context(running_control_plane(directory, node=True))
        for name, options in commands(plane, engine).items():
            server = Server(
                name,
                [str(built(name)), *options],
                directory / f"{name}.log",
                env=os.environ | {"PATH": engine.path},
            )
            server.start()
            stack.callback(server.kill)
        for one in volumes(directory):
            plane.api.apply(one)
        eventually(lambda: _ready(plane), "the node", NET_SECONDS)
        yield Node(plane, engine)


def _ready(plane: ControlPlane) -> bool:
    try:
        conditions = plane.api.get("nodes", NAME)["status"].get("conditions", ())
    except RefusedError:
        return False  # the kubelet has not told of it yet
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _end_containers(engine: Engine) -> None:
    """What a kubelet leaves running when it ends: its pods."""
    for one in engine.ctr("tasks", "list", "--quiet").split():
        with contextlib.suppress(CommandError):
            engine.ctr("tasks", "delete", "--force", one)
    for one in engine.ctr("containers", "list", "--quiet").split():
        with contextlib.suppress(CommandError):
            engine.ctr("containers", "delete", one)
