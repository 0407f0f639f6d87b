"""What other teams are told when a run has ended, and when its cost changes afterwards."""

import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal

import httpx

from tests.inputs import captures
from tests.inputs.captures import Calls
from tests.observers.deployment import Deployment
from tests.observers.ledger import Ledger
from tests.observers.topics import Topics
from tests.waiting import eventually

RECEIPTS = "billing.receipts.v1"
USAGE_UNITS = "/v1/usage-units"


def complete(deployment: Deployment, run: str) -> None:
    """Say that the run has ended, as its executor does."""
    unit = {
        "unit_id": str(uuid.uuid4()),
        "run_id": run,
        "executor": "tests",
        "finished_at": datetime.now(UTC).isoformat(),
        "run_completed": True,
    }
    answer = deployment.post(json.dumps(unit).encode(), path=USAGE_UNITS)
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text


def test_a_run_that_has_ended_has_one_figure_and_another_when_a_call_comes_late(
    deployment: Deployment, topics: Topics, ledger: Ledger, calls: Calls
) -> None:
    before, run = topics.ends(RECEIPTS), calls.name("run")
    paid = [calls.in_run(run).element for _ in range(3)]
    open_ = calls.in_run(run, response_cost=0.0)
    deployment.accept(captures.array([*paid, open_.element]))
    complete(deployment, run)

    def told() -> list[dict[str, object]]:
        found = [
            record
            for record in topics.since(RECEIPTS, before)
            if record.headers["ce_type"] == b"billing.run.settled.v1" and record.key == run.encode()
        ]
        assert len({record.headers["ce_id"] for record in found}) == len(found)
        return [json.loads(record.value) for record in found]

    eventually(lambda: bool(told()), "the run to be settled", 120)
    [first] = told()
    rows = ledger.receipts(run_id=run)
    assert (first["revision"], first["calls"], first["open_calls"]) == (1, 3, 1)
    assert Decimal(str(first["charged_usd"])) == sum(row["charged_usd"] for row in rows)
    assert first["charged_credits"] == sum(row["charged_credits"] for row in rows)
    assert first["open"] == [
        {
            "reason": "suspicious_zero",
            "litellm_call_id": open_.litellm_call_id,
            "response_id": open_.response_id,
            "model": ledger.deferred(run_id=run)[0]["model"],
        }
    ]

    deployment.accept(captures.array([calls.in_run(run).element]))
    eventually(lambda: len(told()) > 1, "the run to be settled again", 120)
    assert [(each["revision"], each["calls"]) for each in told()] == [(1, 3), (2, 4)]
