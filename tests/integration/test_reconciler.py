"""The reconciler between a spend log that stands in for LiteLLM's and a real gateway and ledger."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.inputs.made_calls import call, calls
from tests.processes.consuming import Consuming
from tests.processes.reconciling import Reconciling
from tests.waiting import eventually

HOUR = timedelta(hours=1)


@pytest.fixture
def house(consuming: Consuming) -> Iterator[Reconciling]:
    """A spend log, a gateway and a consumer."""
    with closing(Reconciling(consuming)) as made:
        made.start_gateway()
        consuming.member()
        yield made


def call_ids(house: Reconciling) -> list[str]:
    """The calls that have a receipt, one for each receipt."""
    return sorted(row["litellm_call_id"] for row in house.consuming.tables.receipts())


def names(*made: dict[str, Any]) -> list[str]:
    """The ids of these calls."""
    return sorted(one["litellm_call_id"] for one in made)


def findings(house: Reconciling, *, still_open: bool) -> list[str]:
    """Verdict and call of each finding that is open, or closed."""
    with psycopg.connect(house.consuming.database_url) as connection:
        rows = connection.execute(
            "SELECT verdict || ' ' || litellm_call_id FROM billing.reconciler_findings"
            " WHERE (closed_at IS NULL) = %s ORDER BY 1",
            [still_open],
        ).fetchall()
    return [text for (text,) in rows]


def period(since: timedelta = 3 * HOUR) -> list[str]:
    """The options of a time until now."""
    now = datetime.now(UTC)
    return ["--from", (now - since).isoformat(), "--to", now.isoformat()]


def test_ONE_CALL_ONE_RECEIPT_WHICHEVER_PATH_a_lost_call_is_posted_once_and_then_closed(
    house: Reconciling,
) -> None:
    made = list(calls(20, HOUR))
    arrived, lost = made[:15], made[15:]
    house.called(arrived, lost)
    house.consuming.settled()
    first = house.told("once")
    assert (first["rows"], first["reposted"]) == (20, 5)
    assert first["verdicts"] == {"matched": 15, "missing": 5}
    eventually(lambda: call_ids(house) == names(*made), "a receipt of each call")
    second = house.told("once")
    assert (second["verdicts"], second["reposted"], second["closed"]) == ({"matched": 20}, 0, 5)
    assert findings(house, still_open=True) == []
    # The callbacks come all the same, a day late.
    house.called(lost)
    house.consuming.settled()
    assert call_ids(house) == names(*made)
    assert house.consuming.tables.conflicts() == []
    marks = {row["litellm_call_id"]: row["marks"] for row in house.consuming.tables.receipts()}
    assert {name for name, all_ in marks.items() if "reconciler" in all_} == set(names(*lost))
    told = house.told("audit", *period())
    assert told["balanced"]
    assert told["lines"][0]["calls"] == 20
    assert told["lines"][0]["difference_usd"] == "0"


def test_a_run_that_has_ended_is_looked_for_at_once(house: Reconciling) -> None:
    now = datetime.now(UTC)
    fields = {"end_user": "run-x/2", "metadata": {"user_api_key_team_id": "team-1"}}
    made = [{**call(n, now - timedelta(seconds=2)), **fields} for n in range(3)]
    other = call(9, now - timedelta(seconds=2))
    house.called(made[:1], [*made[1:], other])
    found = house.told("run-completed", "run-x/2", RECONCILER_GRACE_S="900")
    assert (found["rows"], found["reposted"], found["receipts"]) == (3, 2, 3)
    assert found["latency_seconds"] > 0
    assert call_ids(house) == names(*made)
    assert {(row["run_id"], row["attempt"]) for row in house.consuming.tables.receipts()} == {
        ("run-x", 2)
    }
    code, _, said = house.command("run-completed", "run-y/0", "--seconds", "0")
    assert code == 1, said
    assert house.command("run-completed", "run-x")[0] == 2
