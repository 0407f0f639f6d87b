"""The limit of a gateway: one producer with its configuration, and nothing in front.

A process of its own, so that its CPU is its own: `python -m tests.bench.bare_producer WORK`.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from confluent_kafka import Producer

from producer_gateway.producer import _configuration
from producer_gateway.records import Envelope, Preparer
from producer_gateway.settings import Settings
from producer_gateway.store import Record
from schemas.topics import load_topics
from tests.bench.payloads import Payloads
from tests.bench.processor import MICRO
from tests.bench.services import ROOT

_WINDOW_BYTES: Final = 256 * 1024 * 1024
"""On their way; more would only measure how much fits into memory. Half of the producer's queue."""
_MORE_SECONDS: Final = 180.0
"""For making the records, and for the last of them."""


@dataclass(frozen=True)
class Work:
    """What to produce: callbacks of `seed` and `size`, `posts` times `per_post`, in turn."""

    bootstrap: str
    prefix: str
    seconds: float
    size: int
    posts: int
    per_post: int = 1
    seed: str = "load"


@dataclass(frozen=True)
class Produced:
    """Records a second until all were durable, and the microseconds of CPU of one."""

    per_second: float
    cpu: float


def produced(work: Work) -> Produced:
    """Produce in a process of its own.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    command = [sys.executable, "-m", "tests.bench.bare_producer", json.dumps(asdict(work))]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False,
        timeout=work.seconds + _MORE_SECONDS,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"the bare producer failed:\n{done.stderr[-2_000:]}")
    return Produced(**json.loads(done.stdout))


def prepared(prefix: str, bodies: Sequence[bytes]) -> list[Record]:
    """The records that the gateway makes of `bodies`."""
    preparer = Preparer(load_topics(prefix), drop_content=False)
    envelope = Envelope("litellm", "application/json", None)
    return [record for body in bodies for record in preparer.prepare(body, envelope).records]


def produce(bootstrap: str, prefix: str, records: Sequence[Record], seconds: float) -> Produced:
    """Produce `records` again and again for some seconds, and wait until all are durable.

    Only failures are reported back one by one: no Python runs for a record that arrives.
    """
    failures = list[object]()
    # The gateway's own function: a limit with other settings would be another limit.
    settings = Settings.model_validate(
        {"KAFKA_BOOTSTRAP_SERVERS": bootstrap, "BILLING_INGEST_TOKEN": "x" * 64}
    )
    configuration = _configuration(settings, load_topics(prefix))
    producer = Producer(
        {
            **configuration,
            "delivery.report.only.error": True,
            "on_delivery": lambda error, _message: failures.append(error),
        }
    )
    producer.list_topics(timeout=20)
    window = _WINDOW_BYTES * len(records) // sum(len(record.value) for record in records)
    sent, began, used = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        for topic, key, value, headers in records:
            producer.produce(topic, value, key, headers=headers)  # type: ignore[arg-type]
            sent += 1
        while len(producer) > window:
            producer.poll(0.001)
    left = producer.flush(60)
    used = time.process_time() - used
    if left or failures:
        raise RuntimeError(f"{left} records were not delivered, {len(failures)} failed")
    return Produced(sent / (time.perf_counter() - began), used * MICRO / sent)


def main() -> None:
    """Read what to produce, produce it, print what came of it."""
    work = Work(**json.loads(sys.argv[1]))
    payloads = Payloads(work.seed, work.size)
    bodies = [payloads.body(post * work.per_post, work.per_post) for post in range(work.posts)]
    done = produce(work.bootstrap, work.prefix, prepared(work.prefix, bodies), work.seconds)
    print(json.dumps(asdict(done)))


if __name__ == "__main__":
    main()
