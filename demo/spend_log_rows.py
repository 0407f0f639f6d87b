"""Rows of LiteLLM's spend log as its row builder makes them of calls, and as its routes show them.

Held against rows that real proxies showed (`schemas/examples/spend-logs`).
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

Row = dict[str, Any]

_FEWER_DIGITS: Final = 16
"""Significant digits of an amount on the deprecated route, and on both of a former release."""
_FORMER: Final = frozenset({"1.109.1"})
_TIMES: Final = ("startTime", "endTime", "completionStartTime")
_OF_THE_CALLER: Final = ("alias", "org_id", "project_id", "team_id", "user_id")


def row_of(callback: Mapping[str, Any], version: str) -> Row:
    """Return the row of the call that a callback tells of; times are epoch seconds in it."""
    metadata = callback.get("metadata") or {}
    hit = callback.get("cache_hit") is True
    failed = callback["status"] == "failure"
    return {
        "request_id": _request_id(callback, hit=hit),
        "call_type": callback["call_type"],
        "api_key": metadata.get("user_api_key_hash") or "",
        "spend": _kept(callback["response_cost"], version),
        **{name: callback[name] for name in ("total_tokens", "prompt_tokens", "completion_tokens")},
        **{name: round(callback[name], 3) for name in _TIMES},
        "model": "unknown-model" if _is_unknown(callback) else callback["model"],
        "model_id": callback.get("model_id") or "",
        "model_group": callback.get("model_group") or "",
        "custom_llm_provider": callback.get("custom_llm_provider") or "",
        "api_base": callback.get("api_base") or "",
        "user": metadata.get("user_api_key_user_id") or "",
        "metadata": _metadata(callback, metadata),
        "cache_hit": str(callback.get("cache_hit") if not failed else False),
        "cache_key": callback.get("cache_key") or _digest(callback["id"]),
        "request_tags": callback.get("request_tags") or [],
        "team_id": metadata.get("user_api_key_team_id") or "",
        "organization_id": metadata.get("user_api_key_org_id") or "",
        "end_user": callback.get("end_user") or "",
        "requester_ip_address": metadata.get("requester_ip_address"),
        "session_id": callback.get("session_id") or callback.get("trace_id"),
        "status": callback["status"],
        "mcp_namespaced_tool_name": None,
        "agent_id": None,
        "litellm_call_id": callback.get("litellm_call_id"),
        "request_duration_ms": int((callback["endTime"] - callback["startTime"]) * 1_000),
    }


def _request_id(callback: Mapping[str, Any], *, hit: bool) -> str:
    """Return the primary key: a cache hit has a clock reading of its own."""
    if callback["call_type"] == "aretrieve_batch":
        return f"{callback['id']}_batch_cost"
    if not hit:
        return str(callback["id"])
    answered, _, time = str(callback["id"]).rpartition("_cache_hit")
    return f"{answered}_cache_hit{float(time) + 0.0044:.7f}"


def _is_unknown(callback: Mapping[str, Any]) -> bool:
    error = callback.get("error_information") or {}
    return bool(error.get("error_class") == "ProxyModelNotFoundError")


def _kept(cost: float, version: str) -> float:
    return _shortened(cost) if version in _FORMER else cost


def _shortened(cost: float) -> float:
    return float(f"{cost:.{_FEWER_DIGITS}g}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _metadata(callback: Mapping[str, Any], metadata: Mapping[str, Any]) -> Row:
    failed = callback["status"] == "failure"
    return {
        "status": "failure" if failed else None,
        "user_api_key": metadata.get("user_api_key_hash") or "",
        **{
            name: metadata.get(name)
            for name in (f"user_api_key_{field}" for field in _OF_THE_CALLER)
        },
        "spend_logs_metadata": _storable(metadata.get("spend_logs_metadata")),
        "usage_object": metadata.get("usage_object") or {},
        "cost_breakdown": callback.get("cost_breakdown"),
        "error_information": callback.get("error_information") if failed else None,
        "litellm_call_id": callback.get("litellm_call_id"),
    }


def _storable(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return what a `jsonb` column keeps: no NUL, and null for what is no number."""
    text = json.dumps(value).replace("\\u0000", "")
    return json.loads(text, parse_constant=lambda _: None)


def paged(row: Row) -> Row:
    """Return a row as `/spend/logs/v2` shows it."""
    spend = row["spend"]
    whole = spend is not None and float(spend).is_integer()
    times = {name: f"{_moment(row[name]):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "+00:00" for name in _TIMES}
    return {**row, **times, "spend": int(spend) if whole else spend}


def listed(row: Row) -> Row:
    """Return a row as the deprecated `/spend/logs` shows it."""
    times = {name: f"{_moment(row[name]):%Y-%m-%dT%H:%M:%S.%f}Z" for name in _TIMES}
    written = times["endTime"]
    hidden: Row = {
        "messages": {},
        "response": {},
        "proxy_server_request": {},
        "billing_agent_id": None,
    }
    spend = None if row["spend"] is None else _shortened(row["spend"])
    whole = {**row, **times, **hidden, "spend": spend}
    return {**whole, "created_at": written, "updated_at": written}


def stored(shown: Mapping[str, Any]) -> Row:
    """Return a row that a proxy has shown as it was stored."""
    times = {name: datetime.fromisoformat(shown[name]).timestamp() for name in _TIMES}
    spend = shown["spend"]
    return {**shown, **times, "spend": None if spend is None else float(spend)}


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(round(seconds, 3), UTC)
