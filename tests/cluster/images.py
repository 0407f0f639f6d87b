"""Build the images with a real Docker engine, start the compose file, follow calls to receipts.

Needs root, Go and Java on a Debian machine whose network may be changed while this runs.
"""

import json
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Final

import httpx
import psycopg
import typer

from tests.cluster.load import Sender, Tally, receipts
from tests.kubernetes import standins
from tests.kubernetes.engine import ROOT, CommandError, Engine, run, running_engine, tools
from tests.kubernetes.machine import as_it_was
from tests.kubernetes.programs import compose
from tests.processes.process import free_port
from tests.waiting import NET_SECONDS, eventually

TARGETS: Final = {"rooms": "billing-stream:local", "litellm": "billing-stream-litellm:local"}
ROOMS: Final = ("producer_gateway", "consumer", "reconciler", "spend_guard")
PORTS: Final = ("GATEWAY", "GATEWAY_METRICS", "CONSUMER_METRICS", "KAFKA", "POSTGRES", "LITELLM")
USER: Final = "65532:65532"
LIMITED: Final = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--network", "none")  # noqa: S108 - the container's own


class Stack:
    """The compose file, started by the engine.

    Args:
        engine: the Docker engine.
        directory: takes the file of variables.
    """

    def __init__(self, engine: Engine, directory: Path) -> None:
        self._engine = engine
        self._file = directory / "environment"
        self.token = secrets.token_hex(32)
        self.ports = {name: free_port() for name in PORTS}
        told = {f"PORT_{name}": str(port) for name, port in self.ports.items()}
        told["BILLING_INGEST_TOKEN"] = self.token
        self._file.write_text("".join(f"{name}={value}\n" for name, value in told.items()))

    def __call__(self, *arguments: str) -> str:
        """Run `docker compose` with these arguments. Raises `CommandError`."""
        files = (str(ROOT / "docker-compose.yml"), str(standins.OLD_ENGINE))
        command = [str(compose()), *(part for file in files for part in ("--file", file))]
        command += ["--env-file", str(self._file), "--project-directory", str(ROOT)]
        environment = {"PATH": self._engine.path, "DOCKER_HOST": self._engine.host}
        return run([*command, *arguments], environment)

    @property
    def url(self) -> str:
        """Where callbacks go."""
        return f"http://127.0.0.1:{self.ports['GATEWAY']}"

    @property
    def database_url(self) -> str:
        """PostgreSQL, as the page names it."""
        return f"postgresql://billing:billing@127.0.0.1:{self.ports['POSTGRES']}/billing"

    def send(self, name: str, calls: int) -> Tally:
        """Send calls; each is taken at the first try."""
        with Sender(lambda: self.url, self.token, 20.0).sending(name, calls) as tally:
            pass
        assert tally.at_once == calls, tally.others
        return tally

    def settled(self, tally: Tally) -> None:
        """Wait until each call has one receipt."""

        def written() -> bool:
            try:
                rows, distinct, _ = receipts(self.database_url, tally)
            except psycopg.OperationalError:
                return False
            return rows == distinct == len(tally.calls)

        eventually(written, f"the receipts of {tally.name}", NET_SECONDS)


def images(engine: Engine) -> None:
    """Build both images; run each room's help as the image's user, without a writable disk."""
    for target, name in TARGETS.items():
        engine.docker("build", "--network", "host", "--target", target, "--tag", name, str(ROOT))
        (told,) = json.loads(engine.docker("image", "inspect", name))
        size, user = told["Size"] / 1_000_000, told["Config"]["User"]
        print(f"{name}: {size:.0f} MB, user {user}, {told['Id']}", flush=True)
        assert user == USER
    for room in ROOMS:
        said = engine.docker("run", "--rm", *LIMITED, TARGETS["rooms"], room, "--help")
        print(f"{room} --help: {len(said.splitlines())} lines", flush=True)


@contextmanager
def started(stack: Stack) -> Iterator[None]:
    """The services run and are healthy for as long as the block."""
    try:
        stack("up", "--detach", "--wait", "--wait-timeout", "600", "gateway", "consumer")
        yield
    finally:
        stack("--profile", "*", "down", "--volumes", "--timeout", "60")


def follow(stack: Stack) -> None:
    """Calls to their receipts, also of those that came while Kafka was away."""
    with started(stack):
        print(stack("ps", "--format", "{{.Service}}: {{.Status}}"), flush=True)
        first = stack.send("plain", 50)
        stack.settled(first)
        print("50 calls, all 202 at the first try: 50 receipts", flush=True)
        stack("stop", "kafka")
        spooled = stack.send("spooled", 50)
        stack("up", "--detach", "--wait", "--wait-timeout", "600", "kafka")
        stack.settled(spooled)
        print("50 calls while Kafka was stopped, all 202 at the first try: 50 receipts", flush=True)
        told = stack("exec", "-T", "consumer", "billing", "report", "--json")
        print(f"docker compose exec consumer billing report: {len(told)} characters", flush=True)
        stack(
            "--profile", "litellm", "up", "--detach", "--wait", "--wait-timeout", "600", "litellm"
        )
        alive = httpx.get(
            f"http://127.0.0.1:{stack.ports['LITELLM']}/health/liveliness", trust_env=False
        )
        print(f"the LiteLLM proxy of the second image answers {alive.status_code}", flush=True)


def main(
    *,
    only_build: Annotated[bool, typer.Option("--only-build", help="start nothing")] = False,
) -> None:
    """Build the images with a real Docker engine; start the compose file and count receipts."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with ExitStack() as stack:
        # Sockets are in it: a longer path would not fit.
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="node-")))
        directory.chmod(0o755)
        stack.enter_context(as_it_was(directory, f"{tools(directory)}:{os.environ['PATH']}"))
        engine = stack.enter_context(running_engine(directory))
        try:
            images(engine)
            if not only_build:
                standins.build(engine)
                follow(Stack(engine, directory))
        except CommandError as failed:
            print(failed)
            sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
