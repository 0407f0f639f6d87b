"""Made-up events of a response that is made in the background: its create and its reads."""

import itertools
import json
from typing import Any

from tests.inputs.callbacks import element

COST = 4.4999999999999996e-05
"""What each read of the captured response says (LiteLLM 1.110.2)."""
CREATED_AT = 1_795_312_930

_numbers = itertools.count(1)


def response(status: str, **fields: object) -> dict[str, Any]:
    """The part of a callback that every event of one response shares."""
    whole: dict[str, Any] = {
        "object": "response",
        "status": status,
        "background": True,
        "created_at": CREATED_AT,
        "model": "gpt-4o-mini",
        "output": [{"text": "SECRET"}],
    }
    return {name: value for name, value in (whole | fields).items() if value is not ...}


def event(call_type: str, **fields: object) -> bytes:
    """An event under ids of its own, as every one has; `fields` replace top-level ones."""
    name = f"{call_type}-{next(_numbers)}"
    metadata = {"user_api_key_hash": "key", "user_api_key_user_id": "default_user_id"}
    whole: dict[str, object] = {
        "id": f"resp_{name}",
        "litellm_call_id": name,
        "call_type": call_type,
        "stream": None,
        "end_user": None,
        "request_tags": [],
        "metadata": metadata,
    }
    return element(**(whole | fields))


def create(
    *, run: object = "run-bg", account: object = "acme", hold: str | None = None, **fields: object
) -> bytes:
    """The order of a response, which has cost nothing yet; the guard may hold credits for it."""
    spend: dict[str, object] | None = None
    if run:
        spend = {"run_id": run, "attempt": 1, "sub_agent_id": "writer"}
        spend |= {"billing_hold": hold} if hold else {}
    nothing = {"response_cost": 0.0, "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    metadata = {"user_api_key_hash": "key", "spend_logs_metadata": spend}
    ordered: dict[str, Any] = {
        "end_user": account,
        "request_tags": ["night"],
        "metadata": metadata,
        "response": response("queued"),
    }
    return event("aresponses", **(nothing | ordered | fields))


def read(*, tokens: int = 150, **fields: object) -> bytes:
    """A read of what came of it, with its whole cost."""
    used = {"response_cost": COST, "prompt_tokens": tokens - 50, "completion_tokens": 50}
    seen = {"model_group": "f9515fa78e48ab29", "response": response("completed")}
    return event("aget_responses", **(used | seen | fields))


def finished(*, tokens: int = 150, **fields: object) -> bytes:
    """A response that was ordered in the background and done at once."""
    used: dict[str, Any] = {"response_cost": COST, "prompt_tokens": tokens - 50}
    used["completion_tokens"] = 50
    return create(**(used | {"response": response("completed")} | fields))


def ended(status: str = "failed", **fields: object) -> bytes:
    """A read of a response that was given up."""
    nothing = {"response_cost": 0.0, "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    return event("aget_responses", **(nothing | {"response": response(status)} | fields))


def changed(raw: bytes, **fields: object) -> bytes:
    """An event with some of its top-level fields replaced, `...` takes one away."""
    whole = json.loads(raw) | fields
    return json.dumps({name: value for name, value in whole.items() if value is not ...}).encode()
