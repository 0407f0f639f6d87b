"""The consumer's memory on the largest backlogs: content that compresses to nearly nothing."""

import re
from pathlib import Path
from typing import Final

import pytest
import yaml
from confluent_kafka import Producer

from tests.inputs.callbacks import element
from tests.processes.consuming import CALLBACKS, Consuming, Member
from tests.waiting import NET_SECONDS, eventually

ROOT: Final = Path(__file__).parents[2]
VALUES: Final = ROOT / "charts" / "billing-stream" / "values.yaml"
CALLS: Final = 120
CONTENT_BYTES: Final = 10_000_000


def limit_bytes() -> int:
    """What the chart gives the consumer."""
    values = yaml.safe_load(VALUES.read_text())
    limit = values["consumer"]["resources"]["limits"]["memory"]
    return int(limit.removesuffix("Gi")) * 2**30


def peak_bytes(member: Member) -> int:
    """The most memory that it ever had."""
    status = Path(f"/proc/{member.process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_a_backlog_of_giants_that_compress_fits_the_charts_limit(
    consuming: Consuming, codec: str
) -> None:
    """The gateway's codec, and the one that makes most of it, which anybody may use."""
    producer = Producer(
        {
            "bootstrap.servers": consuming.bootstrap,
            "compression.type": codec,
            "message.max.bytes": 2 * CONTENT_BYTES,
            "linger.ms": 0,
        }
    )
    prompt = [{"role": "user", "content": "tell me a story " * (CONTENT_BYTES // 16)}]
    for number in range(CALLS):
        spend = {"spend_logs_metadata": {"run_id": f"run-{number}", "attempt": 0}}
        value = element(
            id=f"call-{number}", litellm_call_id=f"call-{number}", metadata=spend, messages=prompt
        )
        producer.produce(consuming.prefix + CALLBACKS, value, f"run-{number}".encode())
        producer.flush(NET_SECONDS)
    member = consuming.member()
    consuming.all_committed()
    eventually(lambda: len(consuming.tables.receipts()) == CALLS, "every receipt")
    assert peak_bytes(member) < limit_bytes(), f"{peak_bytes(member) / 2**20:.0f} MiB"
    consuming.every_receipt_is_published_once(CALLS)
    assert member.end() == 0
