"""How fast lost calls are caught up, and how fast a day is audited.

`python -m tests.bench.reconciler 100000`: a gateway was away for a day, and no callback of so many
calls has arrived. Spend log, gateway, Kafka, consumer and PostgreSQL share the machine.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, NamedTuple

import psycopg
import typer

from tests.bench.services import ROOT, running_services
from tests.processes.process import Server, free_port
from tests.waiting import eventually

_DAY: Final = 86_400
_SECONDS: Final = 1_800


class Ran(NamedTuple):
    """A command of the reconciler: what it told, how long it took, its CPU time, and its memory.

    Memory is in MiB, at most.
    """

    told: Any
    seconds: float
    cpu: float
    memory: float


def ran(environment: dict[str, str], *arguments: str) -> Ran:
    """Run a command with `--json`; whatever its exit code, it must have told something."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "reconciler", *arguments, "--json"],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=out,
        )
        _, _, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        out.seek(0)
        cpu = used.ru_utime + used.ru_stime
        return Ran(json.loads(out.read()), seconds, cpu, used.ru_maxrss / 1024)


def receipts(url: str) -> int:
    """How many receipts there are."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM billing.charge_receipts").fetchone()
    return int(row[0]) if row else 0


def main(count: Annotated[int, typer.Argument(help="Lost calls.")] = 100_000) -> None:
    """Let so many lost calls be caught up, compared again, and audited."""
    with running_services() as services, ExitStack() as ends:
        prefix = ends.enter_context(services.topics())
        url = ends.enter_context(services.database())
        gateway = ends.enter_context(services.gateway(prefix))
        ends.enter_context(services.consumer(prefix, url, f"{prefix}consumer"))
        port = free_port()
        command = [sys.executable, "-m", "tests.bench.spend_log", str(port), str(count), str(_DAY)]
        log = services.directory / "spend-log.log"
        spend_log = Server("spend log", command, log, env=dict(os.environ), cwd=ROOT)
        spend_log.start()
        ends.callback(spend_log.stop)
        eventually(lambda: "serving" in log.read_text(), "the spend log", 120)
        print(log.read_text().strip())
        environment = {
            "LITELLM_URL": f"http://127.0.0.1:{port}",
            "LITELLM_API_KEY": "sk-redacted-test-key",
            "GATEWAY_URL": f"http://127.0.0.1:{gateway.port}",
            "BILLING_INGEST_TOKEN": gateway.token,
            "DATABASE_URL": url,
            "RECONCILER_GRACE_S": "0",
            "RECONCILER_LOG_LEVEL": "warning",
        }
        caught = ran(environment, "once")
        assert caught.told["reposted"] == count, caught.told
        say("caught up", count, caught)
        began = time.monotonic()
        eventually(lambda: receipts(url) == count, "a receipt of each call", _SECONDS)
        print(f"the last receipt {time.monotonic() - began:.1f} s later")
        now = datetime.now(UTC)
        took = ["--from", (now - timedelta(days=2)).isoformat(), "--to", now.isoformat()]
        say("compared again, all of them matched", count, ran(environment, "once", *took))
        audited = ran(environment, "audit", *took)
        assert audited.told["balanced"], audited.told["lines"]
        say("audited", count, audited)


def say(what: str, count: int, done: Ran) -> None:
    """Print a figure."""
    print(
        f"{what}: {count / done.seconds:,.0f} rows/s in {done.seconds:.1f} s; "
        f"{done.cpu / count * 1e6:.0f} µs of its CPU time a row, {done.memory:.0f} MiB at most",
        flush=True,
    )


if __name__ == "__main__":
    typer.run(main)
