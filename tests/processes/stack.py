"""The project's own stack for the system ring: gateway, consumer and, if asked for, LiteLLM."""

import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.inputs.captures import FREE_MODELS
from tests.observers.deployment import ADDRESSES, Deployment
from tests.processes.process import Server, ServerError
from tests.processes.restarts import brought_up, note
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
START_SECONDS = 240.0
STOP_SECONDS = 90.0
NOT_OURS = {"install-litellm", "upstream", "litellm", "kafka", "postgres"}
"""Parts of the stack that may be begun again where they do not come up."""
FURTHER_SOURCES = ("second", "shuffled")


class StackFailedError(AssertionError):
    """A part of ours did not come up: what the tests look for."""


@contextmanager
def running_stack(
    directory: Path,
    *,
    bootstrap: str,
    database_url: str,
    topic_prefix: str,
    litellm: bool = False,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Deployment]:
    """The stack of `make up`, on a broker and a database that the tests chose.

    It runs in the foreground below this process, so that it ends with it in every case.

    Args:
        directory: its run directory; the logs of its processes stay there.
        bootstrap: the broker.
        database_url: an empty database.
        topic_prefix: keeps its topics and its consumer group apart from others.
        litellm: whether a LiteLLM proxy and its loopback provider belong to it.
        settings: further environment, such as BILLING_MARKUP.

    Raises:
        StackFailedError: a part of ours did not start; with the end of its log.
        ServerError: another part did not, three times.
    """
    environment = {
        **_environment(topic_prefix),
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "DATABASE_URL": database_url,
        **(settings or {}),
    }
    command = [sys.executable, "-m", "demo", "supervise", "--directory", str(directory)]
    command += ["--litellm"] if litellm else []
    server = Server("the stack", command, directory.with_suffix(".log"), env=environment, cwd=ROOT)
    written = directory / "env"

    def ready() -> bool:
        server.check()
        return written.exists()

    def begin() -> None:
        server.start()
        try:
            eventually(ready, "the stack to be ready", START_SECONDS)
        except (ServerError, TimeoutError) as failed:
            server.kill()
            words = f"{failed}\n{_last_words(directory)}"
            if _fault_of(directory) in NOT_OURS:
                raise ServerError(words) from failed
            raise StackFailedError(words) from failed

    try:
        brought_up("the stack below a LiteLLM proxy", begin)
        lines = written.read_text().splitlines()
        described = {**environment, **dict(line.split("=", 1) for line in lines)}
        missing = [name for name in ADDRESSES if name not in described]
        assert not missing, f"{written} lacks {missing}"
        yield Deployment.described_by(described)
    finally:
        for name, times in _restarts(directory).items():
            note(name, f"ended by a signal, begun again {times} x by the stack")
        server.stop(STOP_SECONDS)


def _environment(topic_prefix: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BILLING_")}
    tokens = [f"{source}={secrets.token_urlsafe(32)}" for source in FURTHER_SOURCES]
    return {
        **kept,
        "BILLING_FREE_MODELS": FREE_MODELS,
        "BILLING_TOPIC_PREFIX": topic_prefix,
        "BILLING_INGEST_TOKENS": ",".join(tokens),
        "CONSUMER_GROUP": f"{topic_prefix}consumer",
        # On a busy machine a broker may take longer than in production for a record.
        "GATEWAY_DELIVERY_TIMEOUT_MS": "120000",
    }


def _last_words(directory: Path) -> str:
    """What the stack says about its end, for the person who reads the failed test."""
    return str(_state(directory).get("message") or f"its logs are in {directory / 'logs'}")


def _fault_of(directory: Path) -> str:
    """The part that failed or was late, as the stack's own words begin with its name."""
    return str(_state(directory).get("message", "")).partition(" ")[0]


def _restarts(directory: Path) -> dict[str, int]:
    """The parts that the stack has begun again, and how often."""
    rows = _state(directory).get("services", [])
    return {row["name"]: row["restarts"] for row in rows if row["restarts"]}


def _state(directory: Path) -> dict[str, Any]:
    file = directory / "state.json"
    state: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return state
