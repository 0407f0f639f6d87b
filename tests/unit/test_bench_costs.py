"""What the bench compares CPU with: a yardstick that stays, whole processes, fair others."""

import hashlib
import socket
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import orjson
import psutil
import pytest
from confluent_kafka import Message
from prometheus_client import generate_latest

from consumer import metrics
from schemas.reader import identify
from tests.bench import instead_table, processor, writing
from tests.bench.alternatives import exact_consumer
from tests.bench.alternatives.executemany_consumer import DETAIL, NAMES, RECEIPT
from tests.bench.alternatives.plain_consumer import row
from tests.bench.committing import steps_in
from tests.bench.draining import DrainError
from tests.bench.instead import HEADINGS, LONG, Seen, of_charges, of_events, of_receipts
from tests.bench.payloads import MEDIAN, REDACTED, Payloads
from tests.waiting import NET_SECONDS

FROZEN: Final = "8228f131903b1771646a6836d0cefff83024bf5e914375737c283280f6b70daa"
"""SHA-256 of the tables that writing is compared with, in all releases."""
BURN: Final = "import time\nwhile time.thread_time() < 0.3: pass"
PARENT: Final = f"""
import subprocess, sys, threading
subprocess.run([sys.executable, "-c", {BURN!r}])
burns = {BURN + chr(10) + "print('burnt', flush=True); time.sleep(600)"!r}
threading.Thread(target=exec, args=(burns,), daemon=True).start()
input()
"""
"""A process that does nothing itself: a child and a thread burn 0.3 s of CPU each."""


def as_columns(decode: Callable[[bytes], Any], value: bytes) -> dict[str, Any]:
    """What a plain consumer makes of a record, by column."""
    made = row(decode(value), Message("callbacks", 3, 41, b"run", value))
    return dict(zip(NAMES, made, strict=True))


def test_the_yardstick_is_what_it_was() -> None:
    assert hashlib.sha256(writing.SCHEMA.read_bytes()).hexdigest() == FROZEN


def test_cpu_counts_threads_and_children_that_have_ended() -> None:
    command = [sys.executable, "-c", PARENT]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"burnt\n"
        process = psutil.Process(running.pid)
        whole, own = processor.cpu_seconds(process), processor.main_thread_seconds(process)
        running.communicate(b"\n", NET_SECONDS)
    assert whole - own >= 0.55


def test_another_program_on_the_port_is_not_taken_for_the_broker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(processor.ElsewhereError, match=f"no java listens on {port}"):
            processor.broker(f"127.0.0.1:{port}")
        here = processor.listener(port, psutil.Process().name())
        assert here.pid == psutil.Process().pid


def test_the_steps_of_a_batch_are_those_of_the_consumers_metrics() -> None:
    metrics.BATCH_SECONDS.labels("write").observe(1.5)
    assert steps_in(generate_latest().decode())["write"] >= 1.5
    with pytest.raises(DrainError, match="no step"):
        steps_in("billing_consumer_batch_seconds_count 3")


@pytest.mark.parametrize("size", [REDACTED, MEDIAN])
def test_the_plain_consumers_charge_the_call_that_ours_does(size: int) -> None:
    value = Payloads("seed", size).element(7)
    who = identify(value)
    made = as_columns(orjson.loads, value)
    assert (made["call_key"], made["run_id"]) == (who.call_key, who.run_id)
    assert (made["cost"], made["credits"], made["account"]) == (3.6e-05, 360, "team-a")
    assert (made["kafka_partition"], made["kafka_offset"]) == (3, 41)
    exact = as_columns(exact_consumer.decode, value)
    assert (exact["call_key"], exact["credits"], exact["cost"]) == (
        who.call_key, 360, Decimal("0.000036"),
    )  # fmt: skip


def test_the_exact_one_keeps_every_digit_and_the_quick_one_cannot() -> None:
    value = Payloads("seed").element(7, LONG)
    assert as_columns(exact_consumer.decode, value)["cost"] == Decimal(LONG)
    assert Decimal(as_columns(orjson.loads, value)["cost"]) != Decimal(LONG)


def test_row_by_row_all_columns_are_written() -> None:
    assert [name for name in NAMES if f"%({name})s" not in RECEIPT + DETAIL] == []


def test_what_was_seen_is_said_only_where_it_was() -> None:
    assert (
        of_receipts(98, 98, 13.2) == "no receipt lost or doubled; the next one begins within 20 s"
    )
    assert of_receipts(97, 98, 45.5) == "97 receipts of 98; the next one begins within 50 s"
    assert of_events([b"a", b"b"], 2) == "one for each receipt, across the `kill -9`"
    assert of_events([b"a", b"a", b"b"], 2) == "3 for 2 receipts, 1 of them twice"
    assert of_events([b"a"], 2) == "1 for 2 receipts, 0 of them twice"
    assert of_events([], 2) == "none"
    assert of_charges([(11, 11), (7, 7)]) == "every charge right"
    assert of_charges([(12, 11), (7, 7)]) == "1 of 2 charges a credit too high"
    assert of_charges([(12, 11), (6, 7)]) == "2 of 2 charges wrong"


def test_the_page_gets_what_was_seen_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{instead_table.BEGIN}\nold\n{instead_table.END}\nafter\n")
    seen = Seen("it", "goes on", "keeps it", "exact", "told", "each once")
    assert len(seen.cells()) == len(HEADINGS)
    instead_table.write(page, [seen])
    lines = page.read_text().splitlines()
    assert "| it | goes on | keeps it | exact | told | each once |" in lines
    assert (lines[0], lines[-1], "old" in lines) == ("before", "after", False)
