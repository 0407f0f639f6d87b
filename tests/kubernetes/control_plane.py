"""A Kubernetes without nodes: etcd and an API server on 127.0.0.1, for as long as a block.

Everything that the server checks is real: schemas, admission, conflicts of server-side apply,
fields that never change. No pod ever runs.
"""

import json
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.kubernetes.api import Api, asking
from tests.kubernetes.programs import built, etcd
from tests.processes.process import Server, free_port
from tests.waiting import NET_SECONDS, eventually

ADVERTISED: Final = "10.99.0.1"
"""The node's address. The server refuses to advertise one of loopback, and listens there alone."""
SERVICES: Final = "10.96.0.0/16"
USERS: Final = {
    "admin": "system:masters",
    "system:kube-controller-manager": "",
    "system:kube-scheduler": "",
    "system:kube-proxy": "",
    "system:node:node1": "system:nodes",
}
"""Who has a token: by name, the group."""


@dataclass(frozen=True)
class ControlPlane:
    """An API server that runs."""

    directory: Path
    url: str
    tokens: Mapping[str, str]
    authority: Path
    api: Api
    """With every right."""

    def kubeconfig(self, user: str = "admin") -> Path:
        """A file that programs take for this user."""
        file = self.directory / f"{user.replace(':', '-')}.conf"
        cluster = {"server": self.url, "certificate-authority": str(self.authority)}
        told = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "one", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": self.tokens[user]}}],
            "contexts": [{"name": "one", "context": {"cluster": "one", "user": user}}],
            "current-context": "one",
        }
        file.touch(mode=0o600)
        file.write_text(json.dumps(told))
        return file


def _etcd(directory: Path) -> tuple[Server, str]:
    client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    command = [str(etcd()), "--data-dir", str(directory / "etcd"), "--unsafe-no-fsync"]
    command += ["--listen-client-urls", client, "--advertise-client-urls", client]
    command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
    command += ["--initial-cluster", f"default={peer}", "--logger", "zap"]
    return Server("etcd", command, directory / "etcd.log"), client


def _server(directory: Path, etcd: str, port: int, tokens: Path, *, node: bool) -> Server:
    key = directory / "accounts.key"
    subprocess.run(
        ["openssl", "genrsa", "-out", str(key), "2048"],
        check=True,
        capture_output=True,
        timeout=NET_SECONDS,
    )
    options = {
        "etcd-servers": etcd,
        "bind-address": "127.0.0.1",
        "secure-port": str(port),
        "advertise-address": ADVERTISED,
        "cert-dir": str(directory / "api"),
        "service-cluster-ip-range": SERVICES,
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-signing-key-file": str(key),
        "service-account-key-file": str(key),
        "token-auth-file": str(tokens),
        "authorization-mode": "Node,RBAC",
        "anonymous-auth": "false",
        "kubelet-preferred-address-types": "InternalIP",
    }
    if not node:
        # Nobody makes the accounts of namespaces, and their tokens, without a controller.
        options |= {"disable-admission-plugins": "ServiceAccount"}
        options |= {"endpoint-reconciler-type": "none"}
    command = [str(built("kube-apiserver")), *(f"--{name}={of}" for name, of in options.items())]
    return Server("kube-apiserver", command, directory / "kube-apiserver.log")


@contextmanager
def running_control_plane(directory: Path, *, node: bool = False) -> Iterator[ControlPlane]:
    """Start etcd and an API server in an empty directory; end them with the block.

    Args:
        directory: keeps data and logs.
        node: whether controllers and a node will follow.

    Raises:
        MissingError: a program cannot be had.
        ServerError: one of them ended.
    """
    tokens = {user: secrets.token_hex(16) for user in USERS}
    file = directory / "tokens.csv"
    file.touch(mode=0o600)
    rows = (f'{token},{user},{user},"{USERS[user]}"' for user, token in tokens.items())
    file.write_text("".join(f"{row}\n" for row in rows))
    etcd, address = _etcd(directory)
    port = free_port()
    server = _server(directory, address, port, file, node=node)
    authority = directory / "api" / "apiserver.crt"
    with ExitStack() as stack:
        for one in (etcd, server):
            one.start()
            stack.callback(one.kill)
        eventually(lambda: _alive(server, authority), "the API server's certificate", NET_SECONDS)
        url = f"https://127.0.0.1:{port}"
        api = Api(stack.enter_context(asking(url, tokens["admin"], authority)))
        eventually(lambda: _alive(etcd) and _alive(server) and api.ready(), "the API", NET_SECONDS)
        yield ControlPlane(directory, url, tokens, authority, api)


def _alive(server: Server, made: Path | None = None) -> bool:
    server.check()
    return made is None or made.exists()
