"""Minutes without a broker under steady load: `python -m tests.chaos.outage --help`.

The broker is killed, callbacks go on coming, the broker comes back. Every callback that was
answered 202 must become a receipt, the callbacks of each run must stand on the topic in the order
in which they were sent, and the gateway's memory must not grow with the outage.
"""

import asyncio
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import httpx
import psutil
import psycopg
import typer
from rich.console import Console
from rich.table import Table

from tests.chaos.fleet import Fleet, running_fleet
from tests.waiting import NET_SECONDS, eventually

SENDERS = 20
BYTES = 14_000
SAMPLE_SECONDS = 1.0
BEFORE_SECONDS = 5.0
FLAT = 1.1
SPOOL_BYTES = 4 * 1024**3
ORDER = """
SELECT run_id, response_id FROM billing.charge_receipts
ORDER BY run_id, kafka_offset
"""

console = Console(width=100)


def element(run: int, number: int) -> bytes:
    """A paid call of a run, 14 kB."""
    payload = {
        "id": f"run-{run}-{number}",
        "litellm_call_id": f"run-{run}-{number}",
        "call_type": "acompletion",
        "status": "success",
        "response_cost": 0.000125,
        "model_group": "gpt-4o-mini",
        "custom_llm_provider": "openai",
        "end_user": "acct-outage",
        "startTime": 1_795_312_949.1,
        "endTime": 1_795_312_950.2,
        "metadata": {"spend_logs_metadata": {"run_id": f"run-{run}"}},
        "messages": [{"role": "user", "content": "tell me a story " * (BYTES // 16)}],
    }
    return json.dumps(payload).encode()


class Load:
    """Senders that each post one run's callbacks one after another, at a steady rate in all."""

    def __init__(self, fleet: Fleet, rate: float) -> None:
        self._url = f"{fleet.gateway_url}/v1/callbacks/litellm"
        self._headers = {"Authorization": f"Bearer {fleet.token}"}
        self._pause = SENDERS / rate
        self._gateway = psutil.Process(fleet.gateway.pid)
        self.taken: dict[str, list[str]] = {}
        self.refused: list[str] = []
        self.seconds: list[float] = []
        self.memory: list[float] = []
        """The gateway's resident memory, MiB, once a second."""

    async def run(self, seconds: float) -> None:
        """Post for so long, and watch the gateway's memory."""
        until = time.monotonic() + seconds
        senders = [self._post(run, until) for run in range(SENDERS)]
        await asyncio.gather(self._watch(until), *senders)

    async def _post(self, run: int, until: float) -> None:
        taken = self.taken.setdefault(f"run-{run}", [])
        first = time.monotonic() + self._pause * run / SENDERS
        number = len(taken)
        async with httpx.AsyncClient(
            trust_env=False, timeout=NET_SECONDS, headers=self._headers
        ) as client:
            for turn in range(10**9):
                due = first + turn * self._pause
                if due > until:
                    return
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                begun = time.monotonic()
                answer = await client.post(self._url, content=element(run, number))
                self.seconds.append(time.monotonic() - begun)
                if answer.status_code == httpx.codes.ACCEPTED:
                    taken.append(f"run-{run}-{number}")
                else:
                    self.refused.append(answer.text)
                number += 1

    async def _watch(self, until: float) -> None:
        while time.monotonic() < until:
            self.memory.append(self._gateway.memory_info().rss / 1024**2)
            await asyncio.sleep(SAMPLE_SECONDS)


def receipts(fleet: Fleet) -> int:
    """How many there are."""
    with psycopg.connect(fleet.postgres.url) as connection:
        row = connection.execute("SELECT count(*) FROM billing.charge_receipts").fetchone()
    return int(row[0]) if row else 0


def in_order(fleet: Fleet, taken: dict[str, list[str]]) -> bool:
    """Whether the receipts of each run come from the topic in the order of their sending."""
    found: dict[str, list[str]] = {}
    with psycopg.connect(fleet.postgres.url) as connection:
        for run, response in connection.execute(ORDER):
            found.setdefault(run, []).append(response)
    return found == taken


def quarters(values: Sequence[float]) -> list[float]:
    """The maximum of each quarter."""
    edges = [len(values) * n // 4 for n in range(5)]
    return [max(values[low:high]) for low, high in pairwise(edges)]


def verdicts(
    load: Load, count: int, drained: float, *, ordered: bool
) -> list[tuple[str, str, bool]]:
    """What is said of a run: what, the finding, whether it is good."""
    taken = sum(map(len, load.taken.values()))
    _, second, _, last = quarters(load.memory)
    ranked = sorted(load.seconds)
    p50, p99 = 1e3 * statistics.median(ranked), 1e3 * ranked[len(ranked) * 99 // 100]
    refused = f"{len(load.refused)} {load.refused[:1] or ''}"
    memory = f"{second:.0f}, {last:.0f} in the last quarter; {max(load.memory):.0f} at most"
    return [
        ("callbacks answered 202", f"{taken}", taken > 0),
        ("answered otherwise", refused, not load.refused),
        ("receipts", f"{count}", count == taken),
        ("order of each run kept", f"{ordered}", ordered),
        ("gateway's memory, second quarter, MiB", memory, last <= FLAT * second),
        ("answer p50, p99, ms", f"{p50:.1f}, {p99:.1f}", True),
        ("all receipts after the broker's return", f"{drained:.0f} s", True),
    ]


def main(
    minutes: Annotated[float, typer.Option(min=0.1, help="How long the broker is away.")] = 10,
    rate: Annotated[float, typer.Option(min=1, help="Callbacks a second, of 14 kB.")] = 200,
) -> None:
    """Measure an outage of the broker; exit code 1 when anything is lost, disordered or grows."""
    directory = Path(tempfile.mkdtemp(prefix="outage-"))
    console.print(f"logs and spool in {directory}")
    with running_fleet(directory, GATEWAY_SPOOL_MAX_BYTES=str(SPOOL_BYTES)) as fleet:
        load = Load(fleet, rate)
        asyncio.run(load.run(BEFORE_SECONDS))
        fleet.kafka.kill()
        console.print(f"the broker is away; {rate:g} callbacks a second for {minutes:g} minutes")
        load.memory.clear()
        asyncio.run(load.run(minutes * 60))
        fleet.kafka.start()
        back = time.monotonic()
        taken = sum(map(len, load.taken.values()))
        console.print(f"the broker is back; {taken} callbacks in all want their receipts")
        eventually(lambda: receipts(fleet) >= taken, "all receipts", 120 + taken / 100)
        drained = time.monotonic() - back
        found = verdicts(load, receipts(fleet), drained, ordered=in_order(fleet, load.taken))
    shutil.rmtree(directory)
    table = Table("what", "found", "", title=f"{minutes:g} minutes without a broker")
    for what, value, good in found:
        table.add_row(what, value, "" if good else "MISSED")
    console.print(table)
    raise typer.Exit(0 if all(good for *_, good in found) else 1)


if __name__ == "__main__":
    typer.run(main)
