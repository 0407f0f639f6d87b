"""The LiteLLM proxy as the caller, in an environment of its own, with its provider and spend log.

It runs with the configuration that users copy, `deploy/litellm`; only the models, the cache
and the secrets are the demo's.
"""

import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from demo.calls import HELD
from demo.loopback import Ports, answers
from demo.process import Service, StackError
from demo.settings import LOOPBACK, ROOT, StackSettings
from demo.spend_log import CALLBACKS, PROBE
from demo.state import RunDirectory

SAMPLE = ROOT / "deploy" / "litellm"
ROW_WRITER = Path(__file__).with_name("row_writer.py")
"""What the proxy loads to tell of its calls to what stands in for its spend log."""
PLUGIN = SAMPLE / "spend_guard.py"
"""What the proxy loads to ask the spend guard before each call."""
_MODELS = Path(__file__).with_name("models.yaml")
_VENV = ".venv-litellm"
_INSTALL_SECONDS = 900
_START_SECONDS = 300
_ASK_MILLISECONDS = 30_000
"""How long a call waits for the spend guard: on a machine that is busy, none may pass unasked."""


class Proxy:
    """A LiteLLM proxy on a loopback port that posts its callbacks to a gateway.

    Nothing here leaves the machine: prices come from the installed package, answers from the
    loopback provider.
    """

    def __init__(
        self,
        settings: StackSettings,
        directory: RunDirectory,
        stack: Mapping[str, str],
        ports: Ports,
    ) -> None:
        """Choose ports and a master key.

        Args:
            settings: ports that were asked for, and the uv to install with.
            directory: where the merged configuration is written.
            stack: addresses and tokens of the gateway and the spend guard.
            ports: gives the ports that nobody asked for.

        Raises:
            StackError: when there is no uv on this machine.
        """
        self._uv = _find_uv(settings.uv)
        self._configuration = directory.path / "litellm.yaml"
        self._stack = stack
        self._port = ports.take(settings.litellm_port)
        self._upstream_port = ports.take(settings.upstream_port)
        self._spend_log_port = ports.take()
        self._master_key = f"sk-{secrets.token_urlsafe(24)}"

    def environment(self) -> dict[str, str]:
        """Return what a client of the proxy needs."""
        return {
            "LITELLM_URL": f"http://{LOOPBACK}:{self._port}",
            "LITELLM_MASTER_KEY": self._master_key,
            "SPEND_LOG_URL": f"http://{LOOPBACK}:{self._spend_log_port}",
            "UPSTREAM_URL": f"http://{LOOPBACK}:{self._upstream_port}",
        }

    def services(self, inherited: Mapping[str, str]) -> tuple[Service, ...]:
        """Return installation, provider, spend log and proxy; writes what the proxy reads."""
        written = guarded(with_rows(configuration()))
        self._configuration.write_text(yaml.safe_dump(written, sort_keys=False))
        for loaded in (ROW_WRITER, PLUGIN):
            shutil.copy(loaded, self._configuration.parent)
        groups = ("--no-default-groups", "--group", "litellm")
        install = Service(
            name="install-litellm",
            command=(self._uv, "sync", "--locked", "--python", sys.executable, *groups),
            environment={**inherited, "UV_PROJECT_ENVIRONMENT": _VENV},
            directory=ROOT,
            deadline_seconds=_INSTALL_SECONDS,
        )
        options = ("--host", LOOPBACK, "--port", str(self._upstream_port))
        upstream = Service(
            name="upstream",
            command=(sys.executable, "-m", "uvicorn", "demo.upstream:app", *options),
            environment=inherited,
            directory=ROOT,
            ready=answers(f"http://{LOOPBACK}:{self._upstream_port}/livez"),
            address=f"{LOOPBACK}:{self._upstream_port}",
            restarts=True,
        )
        return (install, upstream, self._spend_log(inherited), self._litellm(inherited))

    def _spend_log(self, inherited: Mapping[str, str]) -> Service:
        address = f"{LOOPBACK}:{self._spend_log_port}"
        return Service(
            name="spend-log",
            command=(sys.executable, "-m", "demo.spend_log"),
            environment={
                **inherited,
                "LITELLM_MASTER_KEY": self._master_key,
                "SPEND_LOG_PORT": str(self._spend_log_port),
            },
            directory=ROOT,
            ready=answers(f"http://{address}{PROBE}"),
            address=address,
            restarts=True,
        )

    def _litellm(self, inherited: Mapping[str, str]) -> Service:
        url = f"http://{LOOPBACK}:{self._port}"
        options = ("--host", LOOPBACK, "--port", str(self._port))
        return Service(
            name="litellm",
            command=(
                str(ROOT / _VENV / "bin" / "litellm"),
                "--config",
                str(self._configuration),
                *options,
            ),
            environment=self._proxy_environment(inherited),
            directory=self._configuration.parent,
            needs=frozenset({"install-litellm", "spend-guard"}),
            ready=answers(f"{url}/health/readiness"),
            deadline_seconds=_START_SECONDS,
            address=f"{LOOPBACK}:{self._port}",
            restarts=True,
        )

    def _proxy_environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        # With a DATABASE_URL the proxy would set up tables of its own in our database.
        kept = {key: value for key, value in inherited.items() if key != "DATABASE_URL"}
        return {
            "SPEND_GUARD_TIMEOUT_MS": str(_ASK_MILLISECONDS),
            **kept,
            **sample_environment(),
            "BILLING_CALLBACK_URL": f"{self._stack['GATEWAY_URL']}/v1/callbacks/litellm",
            "BILLING_CALLBACK_AUTHORIZATION": f"Bearer {self._stack['BILLING_INGEST_TOKEN']}",
            "SPEND_GUARD_URL": self._stack["SPEND_GUARD_URL"],
            "SPEND_GUARD_TOKEN": self._stack["SPEND_GUARD_TOKENS"].partition(",")[0].strip(),
            "LITELLM_MASTER_KEY": self._master_key,
            "SPEND_LOG_CALLBACKS": f"http://{LOOPBACK}:{self._spend_log_port}{CALLBACKS}",
            "SPEND_LOG_HOLDS": HELD,
            "UPSTREAM_URL": f"http://{LOOPBACK}:{self._upstream_port}",
            "UPSTREAM_API_BASE": f"http://{LOOPBACK}:{self._upstream_port}/v1",
            "DEFAULT_FLUSH_INTERVAL_SECONDS": "1",  # a demo waits for its receipts
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_TELEMETRY": "False",
            "LITELLM_LOG": "ERROR",
            "PYTHONFAULTHANDLER": "1",  # its crashes leave a traceback in its log
        }


def configuration() -> dict[str, Any]:
    """Return the sample configuration with the demo's models and cache added to it."""
    merged: dict[str, Any] = yaml.safe_load((SAMPLE / "config.yaml").read_text())
    for section, value in yaml.safe_load(_MODELS.read_text()).items():
        merged[section] = merged.get(section, {}) | value if isinstance(value, dict) else value
    return merged


def with_rows(configuration: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration in which the row of a call is written before its callback is sent.

    SPEND_LOG_CALLBACKS says where to; `ROW_WRITER` has to stand beside the configuration.
    """
    return _with_callback(configuration, f"{ROW_WRITER.stem}.writer")


def guarded(configuration: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration whose calls the spend guard is asked about before they are made.

    `PLUGIN` has to stand beside the configuration.
    """
    return _with_callback(configuration, f"{PLUGIN.stem}.guard")


def _with_callback(configuration: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a configuration with one callback more, the first of all."""
    settings = configuration["litellm_settings"]
    callbacks = [name, *settings["callbacks"]]
    return configuration | {"litellm_settings": settings | {"callbacks": callbacks}}


def sample_environment() -> dict[str, str]:
    """Return the variables of the sample environment file."""
    lines = (SAMPLE / "litellm.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def _find_uv(given: Path | None) -> str:
    own = ROOT / ".uv" / "bin" / "uv"
    found = str(given) if given else shutil.which("uv")
    if found:
        return found
    if os.access(own, os.X_OK):
        return str(own)
    raise StackError(
        "no uv found to install the LiteLLM proxy with. Start this with `make`, which installs "
        "one, or put uv on the PATH."
    )
