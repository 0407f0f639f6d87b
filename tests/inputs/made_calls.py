"""Made-up calls of a proxy, as the callbacks that it would post: for spend logs and for topics."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.inputs.callbacks import payload


def call(number: int, began: datetime, cost: float = 0.00033, **fields: object) -> dict[str, Any]:
    """A paid call of a proxy that began at a time and took a second."""
    start = round(began.timestamp(), 3)
    name = f"{number:06}"
    return payload(
        id=f"chatcmpl-{name}",
        litellm_call_id=f"call-{name}",
        response_cost=cost,
        total_tokens=150,
        startTime=start,
        endTime=start + 1.0,
        completionStartTime=start + 0.25,
        end_user=f"acct-{number % 7}",
        metadata={
            "user_api_key_hash": "h" * 64,
            "user_api_key_team_id": "team-1",
            "spend_logs_metadata": {"run_id": f"run-{number % 50}", "attempt": 0},
        },
        **fields,
    )


def calls(count: int, ago: timedelta, first: int = 0) -> Iterator[dict[str, Any]]:
    """Yield calls that began one after another from `ago` on until a minute ago."""
    now = datetime.now(UTC)
    step = (ago - timedelta(minutes=1)) / max(count, 1)
    for number in range(first, first + count):
        at = now - ago + step * (number - first)
        yield call(number, at, cost=round(0.0003 + number * 1e-7, 10))
