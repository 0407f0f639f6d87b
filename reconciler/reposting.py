"""Reposting: from a row of the spend log to the callback that was lost. Pure.

ONE_CALL_ONE_RECEIPT_WHICHEVER_PATH: what is made here has the call key that the callback of the
call has, so that whichever of the two comes second is a duplicate. Where the row does not tell that
key, there is no callback, only the reason. COST_ORACLE_IS_LITELLM: the cost is the row's `spend`,
every digit as it was sent. See docs/decisions/0023.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from charging.call_shape import priced_later, reads
from reconciler.row import SpendLog, part_of
from schemas.attribution import text_of
from schemas.callback import RECONCILER
from schemas.identity import BATCH_RETRIEVES, call_key

_BATCH_COST: Final = "_batch_cost"
_CACHE_HIT: Final = "_cache_hit"


class Unidentified(StrEnum):
    """Why a row does not tell the call key of its callback."""

    NO_CALL_ID = "no_call_id"
    """The proxy is older than the column `litellm_call_id`. Its callback has a call id all the
    same, or has none: the row does not tell."""
    CACHE_HIT = "cache_hit"
    """LiteLLM ends the id of a cache hit with a time, and takes it twice: for the row and for the
    callback. Its cost is 0, except on releases that price cache hits."""
    BACKGROUND = "background"
    """It orders or reads what is made in the background. Which result a read tells of stands in
    the response, which a row does not have."""


def response_id(row: SpendLog) -> str:
    """Return the `id` that the callback of the row's call has.

    Without the ending that LiteLLM gives the row of a retrieved batch. Of a cache hit only the part
    before the time, which is the id of the answer that was cached.
    """
    if row.call_type in BATCH_RETRIEVES:
        return row.request_id.removesuffix(_BATCH_COST) or row.request_id
    return row.request_id.rpartition(_CACHE_HIT)[0] if is_timed(row) else row.request_id


def is_timed(row: SpendLog) -> bool:
    """Say whether the row's id ends with a time of its own: that of a cache hit."""
    answered, _, _ = row.request_id.rpartition(_CACHE_HIT)
    return row.cache_hit is True and bool(answered)


def key_of(row: SpendLog) -> str | Unidentified:
    """Return the call key of the row's callback, or why the row does not tell it."""
    if row.call_type in BATCH_RETRIEVES:
        return call_key(row.litellm_call_id, response_id(row), row.call_type)
    if row.litellm_call_id is None:
        return Unidentified.NO_CALL_ID
    if row.cache_hit is True:
        return Unidentified.CACHE_HIT
    if _is_of_the_background(row):
        return Unidentified.BACKGROUND
    return call_key(row.litellm_call_id, response_id(row), row.call_type)


def _is_of_the_background(row: SpendLog) -> bool:
    if reads(row.call_type):
        # With a cost it tells again what another call has cost; without one it costs nothing.
        return bool(row.spend)
    used = row.prompt_tokens or row.completion_tokens or row.total_tokens
    return priced_later(row.call_type) and row.status == "success" and not (row.spend or used)


def callback_of(row: SpendLog) -> bytes:
    """Return the row as a callback: one JSON object in the shape of LiteLLM's own, marked.

    What a row does not know is left out: whether it was streamed, the time to its first token, the
    provider's request id, what a cache hit has saved, and what the client's headers said. Whether
    it may be posted is for `key_of` to say.
    """
    return msgspec.json.encode({
        "id": response_id(row),
        "litellm_call_id": row.litellm_call_id,
        "source": RECONCILER,
        "call_type": row.call_type,
        "status": row.status,
        "response_cost": _cost(row),
        "cache_hit": row.cache_hit,
        "custom_llm_provider": row.provider,
        "model": row.model or "",
        "model_group": row.model_group or "",
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
        "total_tokens": row.total_tokens,
        "startTime": _seconds(row.start),
        "endTime": _seconds(row.end),
        "completionStartTime": _seconds(row.first_token),
        "end_user": row.end_user,
        "request_tags": row.tags,
        "error_str": text_of(part_of(row.metadata.error_information).get("error_message")),
        "cost_breakdown": row.metadata.cost_breakdown,
        "metadata": _metadata(row),
    })  # fmt: skip


def _metadata(row: SpendLog) -> dict[str, Any]:
    metadata = row.metadata
    return {
        "spend_logs_metadata": metadata.spend_logs_metadata,
        "usage_object": metadata.usage_object,
        "user_api_key_hash": row.key_hash,
        "user_api_key_alias": text_of(metadata.user_api_key_alias),
        "user_api_key_team_id": text_of(metadata.user_api_key_team_id) or row.team,
        "user_api_key_team_alias": text_of(metadata.user_api_key_team_alias),
        "user_api_key_org_id": text_of(metadata.user_api_key_org_id) or row.organization,
        "user_api_key_project_id": text_of(metadata.user_api_key_project_id),
        "user_api_key_user_id": text_of(metadata.user_api_key_user_id) or row.user,
        "user_api_key_end_user_id": row.end_user,
        "is_silent_experiment": metadata.is_silent_experiment is True or None,
    }


def _cost(row: SpendLog) -> msgspec.Raw | None:
    # A decimal would become a text, and a text is no money.
    return None if row.spend is None else msgspec.Raw(str(row.spend).encode())


def _seconds(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None
