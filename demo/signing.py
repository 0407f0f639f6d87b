"""The key by which the demo's agents sign who they are, as their programs would."""

import json
import secrets
from collections.abc import Mapping
from typing import Final

from billing_stream_client import signed

KEYS: Final = "BILLING_ATTRIBUTION_KEYS"
KEY: Final = f"demo-{secrets.token_hex(3)}={secrets.token_hex(32)}"


def agent(run: str, name: str = "", parent: str = "", *, account: str = "") -> str:
    """Return the metadata of a call of an agent, with a signature where an account is given."""
    names: dict[str, object] = {"run_id": run, "attempt": 0, "graph_id": "demo"}
    if name:
        names["sub_agent_id"] = name
    if parent:
        names["parent_sub_agent_id"] = parent
    return json.dumps(signed(names, KEY, account) if account else names)


def renamed(metadata: str, name: str) -> str:
    """Return metadata in which somebody has put another agent behind a signature."""
    return json.dumps({**json.loads(metadata), "sub_agent_id": name})


def keys(given: Mapping[str, str]) -> str:
    """Return the keys that the stack is to take: those of its caller, and the demo's."""
    return ",".join(filter(None, (given.get(KEYS, ""), KEY)))
