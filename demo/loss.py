"""What the demo does to LiteLLM: it is killed before it sends the callback of a call."""

import os
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx

from demo.calls import Answer
from demo.process import StackError
from demo.state import RunDirectory

_ROW_SECONDS: Final = 60
_TURN_SECONDS: Final = 0.1
_SERVICE: Final = "litellm"


def lose_callback(directory: RunDirectory, lost: Answer, url: str, key: str) -> None:
    """Kill the proxy as soon as its spend log has the row of the call; it is started again.

    Args:
        directory: that of the running stack.
        lost: a call whose callback is held.
        url: the spend log.
        key: the proxy's key.

    Raises:
        StackError: when the row does not come, or when no proxy runs.
        httpx.HTTPError: when the spend log does not answer.
    """
    deadline = time.monotonic() + _ROW_SECONDS
    while not _has_row(lost.call_id, url, key):
        if time.monotonic() > deadline:
            raise StackError(
                f"LiteLLM has not told of the call {lost.call_id} within {_ROW_SECONDS} s: see "
                f"{directory.logs / 'litellm.log'}"
            )
        time.sleep(_TURN_SECONDS)
    state = directory.read_state()
    pids = [row.pid for row in state.services if row.name == _SERVICE] if state else []
    if not pids or pids[0] is None:
        raise StackError("no LiteLLM runs that could be killed")
    os.kill(pids[0], signal.SIGKILL)


def _has_row(call_id: str, url: str, key: str) -> bool:
    now, day = datetime.now(UTC), timedelta(days=1)
    answer = httpx.get(
        f"{url}/spend/logs/v2",
        params={
            "start_date": f"{now - day:%Y-%m-%d %H:%M:%S}",
            "end_date": f"{now + day:%Y-%m-%d %H:%M:%S}",
            "request_id": call_id,
        },
        headers={"Authorization": f"Bearer {key}"},
        trust_env=False,
    )
    return bool(answer.raise_for_status().json()["data"])
