"""The project's own stack for the system ring: gateway, consumer and, if asked for, LiteLLM."""

import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.services.captures import FREE_MODELS
from tests.services.deployment import ADDRESSES, Deployment
from tests.services.process import Server, ServerError
from tests.services.waiting import eventually

ROOT = Path(__file__).parents[2]
START_SECONDS = 240.0
STOP_SECONDS = 90.0
FURTHER_SOURCES = ("second", "shuffled")


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
        ServerError: it did not start; with the end of its log.
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

    server.start()
    try:
        try:
            eventually(ready, "the stack to be ready", START_SECONDS)
        except (ServerError, TimeoutError) as failed:
            raise ServerError(f"{failed}\n{_last_words(directory)}") from failed
        lines = written.read_text().splitlines()
        described = {**environment, **dict(line.split("=", 1) for line in lines)}
        missing = [name for name in ADDRESSES if name not in described]
        assert not missing, f"{written} lacks {missing}"
        yield Deployment.described_by(described)
    finally:
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
    }


def _last_words(directory: Path) -> str:
    """What the stack says about its end, for the person who reads the failed test."""
    state = directory / "state.json"
    message = json.loads(state.read_text()).get("message", "") if state.exists() else ""
    return message or f"its logs are in {directory / 'logs'}"
