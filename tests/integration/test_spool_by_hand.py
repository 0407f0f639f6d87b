"""A spool whose gateway is gone is looked into and brought to Kafka by hand."""

import csv
import io
import json
import os
import subprocess
from pathlib import Path

from tests.inputs.callbacks import in_run
from tests.inputs.captures import array
from tests.processes.consuming import CALLBACKS, Consuming
from tests.processes.gateway import Gateway
from tests.processes.process import free_port
from tests.waiting import NET_SECONDS

ROOT = Path(__file__).parents[2]
CALLS = 25


def billing(code: int, *arguments: str, **environment: str) -> tuple[str, str]:
    """Run `billing`; its two outputs."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BILLING_", "KAFKA_"))}
    done = subprocess.run(
        [ROOT / "billing", *arguments],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=NET_SECONDS,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def test_what_a_gateway_left_in_its_spool_reaches_kafka_without_it(
    consuming: Consuming, tmp_path: Path
) -> None:
    spool, nowhere = tmp_path / "spool", f"127.0.0.1:{free_port()}"
    settings = {"GATEWAY_SPOOL_DIR": str(spool), "BILLING_TOPIC_PREFIX": consuming.prefix}
    gateway = Gateway(nowhere, consuming.prefix, tmp_path, GATEWAY_SPOOL_DIR=str(spool))
    with gateway.running():
        answer = gateway.post(array([in_run(number) for number in range(CALLS)]))
        assert answer.json() == {"accepted": CALLS, "parked": 0, "spooled": CALLS}
        assert "a gateway uses" in billing(1, "spool", "list", **settings)[1]
        assert "a gateway uses" in billing(1, "spool", "drain", **settings)[1]

    listed = json.loads(billing(0, "spool", "list", "--json", **settings)[0])
    assert [row["call"] for row in listed] == [f"call-{n}|call-{n}" for n in range(CALLS)]
    assert listed[0]["run"] == "run-0"
    said = billing(0, "spool", "list", "--csv", "--limit", "3", **settings)[0]
    assert len(list(csv.DictReader(io.StringIO(said)))) == 3

    away = {**settings, "KAFKA_BOOTSTRAP_SERVERS": nowhere}
    printed, why = billing(1, "spool", "drain", "--seconds", "2", **away)
    assert f"0 records brought to Kafka, {CALLS} wait" in printed
    assert "error: Kafka: " in why
    assert sum(consuming.topics.ends(CALLBACKS).values()) == 0

    there = {**settings, "KAFKA_BOOTSTRAP_SERVERS": consuming.bootstrap}
    printed, _ = billing(0, "spool", "drain", **there)
    assert f"{CALLS} records brought to Kafka, 0 wait" in printed
    member = consuming.member()
    consuming.all_committed()
    assert len(consuming.tables.receipts()) == CALLS
    assert billing(0, "spool", "list", **settings)[0] == "nothing waits\n"
    assert member.end() == 0
