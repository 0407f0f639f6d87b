"""LiteLLM proxies of versions that are not locked, each in an environment outside the tree.

The packages of a version are pinned in `litellm/<version>.txt`; the first line of such a file says
how it is written again.
"""

import hashlib
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import yaml

from tests.clients import fetching
from tests.downloads.cache import kept
from tests.observers.deployment import CALLBACKS_PATH, Deployment
from tests.processes.process import Server, free_port
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
PINS = Path(__file__).parent / "litellm"
SAMPLE = ROOT / "deploy" / "litellm"
LOCKED = ROOT / ".venv-litellm"
INSTALL_SECONDS = 500
START_SECONDS = 240.0


class InstallError(RuntimeError):
    """Packages could not be installed; the text says why."""


@dataclass(frozen=True)
class RunningProxy:
    """Where a proxy listens, its administrator key, and its process, if the tests have it."""

    url: str
    key: str = field(repr=False)
    server: Server | None = field(default=None, repr=False)


def pinned_versions() -> list[str]:
    """The versions of which the packages are pinned, the oldest first."""
    versions = [path.stem for path in PINS.glob("*.*.*.txt")]
    return sorted(versions, key=lambda version: [int(part) for part in version.split(".")])


def installed(version: str) -> Path:
    """The environment of a version; the first time, uv fills it (seconds, and a download).

    Args:
        version: one of `pinned_versions`, or `locked`, the one of the demo.

    Raises:
        InstallError: its packages are not pinned, there is no uv, or it failed.
    """
    if version == "locked":
        groups = ("--no-default-groups", "--group", "litellm")
        uv("sync", "--quiet", "--locked", "--project", ROOT, "--python", sys.executable, *groups)
        return LOCKED
    pins = PINS / f"{version}.txt"
    if not pins.exists():
        raise InstallError(f"LiteLLM {version} is none of {', '.join(pinned_versions())}")

    def fill(directory: Path) -> None:
        python = directory / "bin" / "python"
        uv("venv", "--quiet", "--clear", "--relocatable", "--python", sys.executable, directory)
        uv("pip", "install", "--quiet", "--no-deps", "--python", python, "--requirements", pins)

    content = pins.read_bytes() + sys.version.encode()
    return kept(f"litellm-{version}-{hashlib.sha256(content).hexdigest()[:8]}", fill)


def uv(*arguments: str | Path) -> None:
    """Run uv. Raises `InstallError` where there is none, or it fails."""
    own = ROOT / ".uv" / "bin" / "uv"
    uv = shutil.which("uv") or (str(own) if own.exists() else None)
    if uv is None:
        raise InstallError("there is no uv: `make install` brings one")
    done = subprocess.run(
        [uv, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=INSTALL_SECONDS,
        # Not that of these tests.
        env={
            **{key: text for key, text in os.environ.items() if key != "VIRTUAL_ENV"},
            "UV_PROJECT_ENVIRONMENT": str(LOCKED),
        },
    )
    if done.returncode != 0:
        raise InstallError(f"uv ended with code {done.returncode}:\n{done.stderr[-2000:]}")


@contextmanager
def running_proxy(
    version: str,
    deployment: Deployment,
    directory: Path,
    logger: Path | None = None,
    settings: Mapping[str, str] = MappingProxyType({}),
    *,
    instance: str = "writer",
    sections: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[RunningProxy]:
    """A proxy of that version, set up as users are told to, that posts to a deployment.

    The demo's loopback provider answers behind it.

    Args:
        version: one of `pinned_versions`, or `locked`.
        deployment: where its callbacks go.
        directory: takes its configuration and its log.
        logger: a module with a callback that is told of each call before the others.
        settings: further environment of the proxy.
        instance: the name of the callback in its module.
        sections: further sections of its configuration; their lists take the place of the demo's.
    """
    configuration = directory / "litellm.yaml"
    configured = _merged(_configuration(), sections)
    if logger is not None:
        shutil.copy(logger, directory)
        configured["litellm_settings"]["callbacks"].insert(0, f"{logger.stem}.{instance}")
    configuration.write_text(yaml.safe_dump(configured))
    proxy_port, provider_port = free_port(), free_port()
    url, key = f"http://127.0.0.1:{proxy_port}", f"sk-{secrets.token_urlsafe(24)}"
    environment = {**_environment(deployment, key, provider_port), **settings}
    provider = [sys.executable, "-m", "uvicorn", "demo.upstream:app", "--port", str(provider_port)]
    command = [str(installed(version) / "bin" / "litellm"), "--config", str(configuration)]
    command += ["--host", "127.0.0.1", "--port", str(proxy_port)]
    servers = [
        Server("the loopback provider", provider, directory / "provider.log", cwd=ROOT),
        Server(
            f"LiteLLM {version}",
            command,
            directory / "litellm.log",
            env=environment,
            cwd=directory,
        ),
    ]
    proxy = RunningProxy(url, key, servers[-1])

    def answers() -> bool:
        for server in servers:
            server.check()
        try:
            fetching.probe(f"http://127.0.0.1:{provider_port}/livez")
            return fetching.probe(f"{proxy.url}/health/readiness").is_success
        except httpx.TransportError:
            return False

    try:
        for server in servers:
            server.start()
        eventually(answers, f"LiteLLM {version} to answer", START_SECONDS)
        yield proxy
    finally:
        for server in reversed(servers):
            server.stop()


def _configuration() -> dict[str, Any]:
    """The configuration that users copy, with the demo's models."""
    models = yaml.safe_load((ROOT / "demo" / "models.yaml").read_text())
    return _merged(yaml.safe_load((SAMPLE / "config.yaml").read_text()), models)


def _merged(configured: dict[str, Any], sections: Mapping[str, Any]) -> dict[str, Any]:
    for section, value in sections.items():
        added = configured.get(section, {}) | value if isinstance(value, dict) else value
        configured[section] = added
    return configured


def _environment(deployment: Deployment, key: str, provider_port: int) -> dict[str, str]:
    # With a DATABASE_URL it would set up tables of its own there.
    kept = {name: text for name, text in os.environ.items() if name != "DATABASE_URL"}
    lines = (SAMPLE / "litellm.env").read_text().splitlines()
    sample = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {
        **kept,
        **sample,
        "BILLING_CALLBACK_URL": f"{deployment.gateway_url}{CALLBACKS_PATH}",
        "BILLING_CALLBACK_AUTHORIZATION": f"Bearer {deployment.token}",
        "LITELLM_MASTER_KEY": key,
        "UPSTREAM_URL": f"http://127.0.0.1:{provider_port}",
        "UPSTREAM_API_BASE": f"http://127.0.0.1:{provider_port}/v1",
        "DEFAULT_FLUSH_INTERVAL_SECONDS": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_TELEMETRY": "False",
        "LITELLM_LOG": "ERROR",
        "NO_PROXY": "127.0.0.1",
    }
