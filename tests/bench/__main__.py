"""`make bench`: what the consumer's core reaches, against limits measured in the same run.

Absolute numbers are noise; the ratios in one run are the result. Issues of scale (the gateway, the
whole path, growth) are not measured here yet.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console
from rich.table import Table

from consumer import migration
from consumer.decision import decide
from consumer.ledger import Ledger
from consumer.record import Charge, Decided, Record
from consumer.rows import RECEIPT_COLUMNS, receipt_row
from tests.services.callbacks import policy
from tests.services.database import choose_database, fresh_database, make_database

EXAMPLE = Path("schemas/examples/litellm/real-stream-usageopt.json")
BATCH = 1_000
DETAILS_FROM = "provider_call_id"
SMALL_BYTES = 4_096
ROUNDS = 5

console = Console(width=120)


def records(count: int, size: int | None) -> list[Record]:
    """Distinct callbacks made from a captured one: as captured (14 kB), or cut to `size` bytes."""
    payload: dict[str, Any] = json.loads(EXAMPLE.read_bytes())[0]
    if size is not None:
        payload["messages"] = payload["response"] = None
        payload["model_map_information"] = None
        payload["model_parameters"] = {"padding": ""}
        padding = size - len(json.dumps(payload))
        payload["model_parameters"]["padding"] = "x" * max(padding, 0)
    made = []
    for number in range(count):
        payload["id"], payload["litellm_call_id"] = f"chatcmpl-{number:032x}", f"call-{number:032x}"
        value = json.dumps(payload).encode()
        made.append(Record("callbacks", number % 12, number, 0, b"run", value, []))
    return made


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def batches(decided: Sequence[Decided]) -> Iterator[Sequence[Decided]]:
    """The batches that the consumer would write."""
    for start in range(0, len(decided), BATCH):
        yield decided[start : start + BATCH]


def copy_limit(url: str, decided: Sequence[Decided]) -> float:
    """Seconds to COPY the same finished rows into the same two tables, and nothing else."""
    rows = [
        receipt_row(0, each.record, each.decision)[1:]
        for each in decided
        if isinstance(each.decision, Charge)
    ]
    columns = RECEIPT_COLUMNS[1:]
    cut = columns.index(DETAILS_FROM)
    end = columns.index("saved_cache_cost") + 1
    receipt_columns = ", ".join(columns[:cut])
    detail_columns = ", ".join(("charge_receipt_id", *columns[cut:end]))

    def copy() -> None:
        with psycopg.connect(url) as connection, connection.cursor() as cursor:
            for start in range(0, len(rows), BATCH):
                part = rows[start : start + BATCH]
                target = f"COPY billing.charge_receipts ({receipt_columns}) FROM STDIN"
                with cursor.copy(target.encode()) as copying:
                    for row in part:
                        copying.write_row(row[:cut])
                target = f"COPY billing.llm_charge_details ({detail_columns}) FROM STDIN"
                with cursor.copy(target.encode()) as copying:
                    for row in part:
                        copying.write_row((row[0], *row[cut:end]))
                connection.commit()

    return timed(copy)


def write(url: str, decided: Sequence[Decided]) -> float:
    """Seconds to write the same receipts through the ledger."""
    ledger = Ledger(url, "billing_consumer")
    ledger.ping()
    seconds = timed(lambda: [ledger.write(batch) for batch in batches(decided)])
    ledger.close()
    return seconds


def decide_into(decided: list[Decided], made: Sequence[Record]) -> None:
    """Decide every record, as the consumer's loop does."""
    rules = policy()
    decided.extend(Decided(record, decide(record, rules)) for record in made)


@contextmanager
def migrated(server: str) -> Iterator[str]:
    """A fresh database with the schema."""
    with fresh_database(server) as url:
        migration.migrate(url)
        yield url


def measure(server: str, size: int | None, count: int) -> list[tuple[str, list[float]]]:
    """Records a second of each step, one figure a round."""
    rates: dict[str, list[float]] = {}
    made = records(count, size)
    for _ in range(ROUNDS):
        decided: list[Decided] = []
        seconds = {"decide": timed(partial(decide_into, decided, made))}
        with migrated(server) as url:
            seconds["COPY of the finished rows (limit)"] = copy_limit(url, decided)
        with migrated(server) as url:
            seconds["ledger, new receipts"] = write(url, decided)
            seconds["ledger, duplicates only"] = write(url, decided)
        for name, taken in seconds.items():
            rates.setdefault(name, []).append(count / taken)
    rates["decide and ledger, one after the other"] = [
        1 / (1 / one + 1 / other)
        for one, other in zip(rates["decide"], rates["ledger, new receipts"], strict=True)
    ]
    return list(rates.items())


def main(
    count: Annotated[int, typer.Option(min=BATCH, help="Callbacks in a round.")] = 10_000,
) -> None:
    """Measure the consumer's core at 14 kB and 4 kB a callback; about two minutes."""
    choice = choose_database()
    server = make_database(choice)
    server.start()
    try:
        for name, size in (("14 kB", None), ("4 kB", SMALL_BYTES)):
            rates = measure(server.url, size, count)
            limit = statistics.median(dict(rates)["COPY of the finished rows (limit)"])
            table = Table(title=f"callbacks of {name}, medians of {ROUNDS} rounds of {count:,}")
            for heading in ("step", "records/s", "least", "most", "of the limit"):
                table.add_column(heading, justify="left" if heading == "step" else "right")
            for step, values in rates:
                median = statistics.median(values)
                figures = (median, min(values), max(values))
                table.add_row(step, *(f"{n:,.0f}" for n in figures), f"{median / limit:.2f}")
            console.print(table)
    finally:
        server.stop()
        server.remove()
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    console.print(f"{machine}, {choice}, version {server.version}")


if __name__ == "__main__":
    typer.run(main)
