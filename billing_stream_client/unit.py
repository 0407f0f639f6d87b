"""The usage unit: "I made this call in that run", with no figure of money in it."""

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Final

from billing_stream_client.names import MAX_NAME

_MOST_TOKENS: Final = 2**53 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One call, as the program that made it saw it; or who pays for a run, or that it has ended.

    `unit_id` is made once, so that a unit which is sent twice is one. Times are in UTC.
    """

    unit_id: str
    run_id: str
    attempt: int
    run_completed: bool = False
    billing_account_id: str | None = None
    litellm_call_id: str | None = None
    response_id: str | None = None
    executor: str
    model: str | None = None
    graph_id: str | None = None
    sub_agent_id: str | None = None
    parent_sub_agent_id: str | None = None
    tool_call_id: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    started_at: str | None = None
    finished_at: str

    def row(self) -> dict[str, str | int]:
        """Return it as the gateway takes it: what is not known is left out.

        So is `run_completed` where it is false, because older gateways refuse a field that they do
        not know.
        """
        values = ((one.name, getattr(self, one.name)) for one in fields(self))
        return {name: value for name, value in values if value is not None and value is not False}


def now() -> str:
    """Return the time, in UTC."""
    return datetime.now(UTC).isoformat()


def id_of(value: object) -> str | None:
    """Return an id of an answer as the gateway takes it; None where it is none."""
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_NAME:
        return None
    return value if value.isprintable() else None


def tokens_of(value: object) -> int | None:
    """Return a number of tokens; None where it is none."""
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None
