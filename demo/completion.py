"""The end of the demo's run, and what other teams are told then that it has cost."""

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import httpx

from demo import commands
from demo.process import StackError

_SECONDS = 60.0
_POST_SECONDS = 30.0
_PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class Total:
    """What `billing.run.settled.v1` says of the run; `seconds` from its end on."""

    calls: int
    charged_usd: Decimal
    open_calls: int
    seconds: float


def complete(reach: Mapping[str, str], run_id: str) -> Total:
    """Say that the run has ended, as its program does, and wait until others are told its cost.

    Args:
        reach: the environment file of the stack.
        run_id: the run.

    Raises:
        StackError: nobody was told in time.
    """
    ended = datetime.now(UTC)
    unit = {
        "unit_id": str(uuid.uuid4()),
        "run_id": run_id,
        "executor": "demo",
        "finished_at": ended.isoformat(),
        "run_completed": True,
    }
    headers = {"Authorization": f"Bearer {reach['BILLING_INGEST_TOKEN']}"}
    url = f"{reach['GATEWAY_URL']}/v1/usage-units"
    httpx.post(url, json=unit, headers=headers, timeout=_POST_SECONDS).raise_for_status()
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        said = commands.run(
            "operator_cli",
            *("run", run_id, "--json"),
            environment={"DATABASE_URL": reach["DATABASE_URL"]},
        )
        told = json.loads(said)["completion"]
        if told and told["revision"]:
            settled = datetime.fromisoformat(told["settled"])
            return Total(
                told["calls"],
                Decimal(told["charged USD"]),
                told["open"],
                (settled - ended).total_seconds(),
            )
        time.sleep(_PAUSE_SECONDS)
    raise StackError(f"nobody was told in {_SECONDS:g} s what the run {run_id} has cost")
