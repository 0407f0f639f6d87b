"""The row: one call as LiteLLM's spend log has it. Pure.

Measured on LiteLLM 1.109.1 and 1.110.2. Amounts are read from their JSON text, every digit kept. A
row that is not what is known here is an odd row, with words, and never left out in silence.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from schemas.attribution import object_of, text_of
from schemas.reader.json_text import number

_NO_JSON: Final = msgspec.Raw(b"null")
_MOST_SHOWN: Final = 200


class RowMetadata(msgspec.Struct, frozen=True, gc=False):
    """What is read of a row's `metadata`; parts that are handed on as they are stay JSON."""

    spend_logs_metadata: msgspec.Raw = _NO_JSON
    usage_object: msgspec.Raw = _NO_JSON
    cost_breakdown: msgspec.Raw = _NO_JSON
    error_information: msgspec.Raw = _NO_JSON
    is_silent_experiment: Any = None
    litellm_call_id: Any = None
    status: Any = None
    user_api_key_alias: Any = None
    user_api_key_org_id: Any = None
    user_api_key_project_id: Any = None
    user_api_key_team_alias: Any = None
    user_api_key_team_id: Any = None
    user_api_key_user_id: Any = None


class SpendLog(msgspec.Struct, frozen=True, gc=False):
    """A row of the spend log, as far as billing needs it.

    `spend` is LiteLLM's own figure in US dollars, None where there is none. Texts that are empty
    are None. `cache_hit` is None where the row says neither.
    """

    request_id: str
    litellm_call_id: str | None
    call_type: str | None
    status: str
    spend: Decimal | None
    start: datetime
    end: datetime | None
    first_token: datetime | None
    model: str | None
    model_group: str | None
    provider: str | None
    key_hash: str | None
    user: str | None
    team: str | None
    organization: str | None
    end_user: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    cache_hit: bool | None
    tags: list[str]
    metadata: RowMetadata

    @property
    def ended(self) -> datetime:
        """When the call ended; when it began, where the row does not say."""
        return self.end or self.start


class OddRow(msgspec.Struct, frozen=True, gc=False):
    """A row that is none that is known: its id as far as it has one, and what is wrong with it."""

    request_id: str | None
    fault: str


class _Sent(msgspec.Struct, frozen=True, gc=False):
    """A row as it was sent, of whatever types."""

    request_id: Any = None
    litellm_call_id: Any = None
    call_type: Any = None
    status: Any = None
    spend: msgspec.Raw = _NO_JSON
    startTime: Any = None  # noqa: N815 - LiteLLM's name
    endTime: Any = None  # noqa: N815 - LiteLLM's name
    completionStartTime: Any = None  # noqa: N815 - LiteLLM's name
    model: Any = None
    model_group: Any = None
    custom_llm_provider: Any = None
    api_key: Any = None
    user: Any = None
    team_id: Any = None
    organization_id: Any = None
    end_user: Any = None
    prompt_tokens: Any = None
    completion_tokens: Any = None
    total_tokens: Any = None
    cache_hit: Any = None
    request_tags: Any = None
    metadata: msgspec.Raw = _NO_JSON


class _OddError(ValueError):
    """What is wrong with a row."""


_sent: Final = msgspec.json.Decoder(_Sent, float_hook=number)
_metadata: Final = msgspec.json.Decoder(RowMetadata, float_hook=number)
_text: Final = msgspec.json.Decoder(str)
_any: Final = msgspec.json.Decoder(float_hook=number)


def read_row(row: msgspec.Raw | bytes) -> SpendLog | OddRow:
    """Read a row of the spend log. Never raises for what a proxy can send."""
    try:
        sent = _sent.decode(row)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return OddRow(None, f"no object that is JSON: {error}")
    try:
        return _row_of(sent)
    except _OddError as error:
        return OddRow(text_of(sent.request_id), str(error))


def _row_of(sent: _Sent) -> SpendLog:
    if not isinstance(sent.request_id, str) or not sent.request_id.strip():
        raise _OddError(f"request_id is {_shown(sent.request_id)}")
    start = _moment("startTime", sent.startTime)
    if start is None:
        raise _OddError("startTime is missing")
    metadata = _metadata_of(bytes(sent.metadata))
    return SpendLog(
        request_id=sent.request_id,
        litellm_call_id=text_of(sent.litellm_call_id) or text_of(metadata.litellm_call_id),
        call_type=text_of(sent.call_type),
        # Rows that are older than the column have it in their metadata.
        status=text_of(sent.status) or text_of(metadata.status) or "success",
        spend=_spend(bytes(sent.spend)),
        start=start,
        end=_moment("endTime", sent.endTime),
        first_token=_moment("completionStartTime", sent.completionStartTime),
        model=text_of(sent.model),
        model_group=text_of(sent.model_group),
        provider=text_of(sent.custom_llm_provider),
        key_hash=text_of(sent.api_key),
        user=text_of(sent.user),
        team=text_of(sent.team_id),
        organization=text_of(sent.organization_id),
        end_user=text_of(sent.end_user),
        prompt_tokens=_count("prompt_tokens", sent.prompt_tokens),
        completion_tokens=_count("completion_tokens", sent.completion_tokens),
        total_tokens=_count("total_tokens", sent.total_tokens),
        cache_hit=_flag(sent.cache_hit),
        tags=_tags(sent.request_tags),
        metadata=metadata,
    )


def _shown(value: object) -> str:
    return repr(value)[:_MOST_SHOWN]


def _moment(name: str, value: object) -> datetime | None:
    """Return a time in UTC; the deprecated route ends it in `Z`, a raw row may have no zone."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise _OddError(f"{name} is {_shown(value)}, not a time")
    try:
        found = datetime.fromisoformat(value)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _OddError(f"{name} is {_shown(value)}, not a time") from None


def _spend(text: bytes) -> Decimal | None:
    if text == b"null":
        return None
    try:
        found = _any.decode(text)
    except msgspec.DecodeError:
        found = None
    if type(found) is Decimal or type(found) is int:
        # Also what no call can cost: the decision keeps that for a person (`unusable_cost`).
        return Decimal(found)
    raise _OddError(f"spend is {text.decode(errors='replace')[:_MOST_SHOWN]}")


def _count(name: str, value: object) -> int | None:
    if value is None or type(value) is int:
        return value
    raise _OddError(f"{name} is {_shown(value)}, not a count")


def _flag(value: object) -> bool | None:
    """Read `cache_hit`: the text of Python's word for it."""
    if value is None or isinstance(value, bool):
        return value
    found = {"true": True, "false": False, "none": None, "": None}
    key = value.lower() if isinstance(value, str) else "?"
    if key not in found:
        raise _OddError(f"cache_hit is {_shown(value)}")
    return found[key]


def _tags(value: object) -> list[str]:
    """Read `request_tags`: a list, or its JSON text in a raw row."""
    if isinstance(value, str):
        try:
            value = _any.decode(value) if value.strip() else []
        except msgspec.DecodeError:
            raise _OddError(f"request_tags is {_shown(value)}") from None
    if value is None or value == {}:  # the column's default
        return []
    if not isinstance(value, list):
        raise _OddError(f"request_tags is {_shown(value)}")
    return [text for tag in value if (text := text_of(tag)) is not None]


def _metadata_of(sent: bytes) -> RowMetadata:
    """Read `metadata`: an object, or its JSON text in a raw row."""
    try:
        text = _text.decode(sent).encode() if sent.startswith(b'"') else sent
        return RowMetadata() if text in {b"null", b""} else _metadata.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise _OddError(f"metadata cannot be read: {error}") from None


def part_of(metadata: msgspec.Raw) -> dict[str, Any]:
    """Return a part of a row's metadata as an object; an empty one where it is none."""
    return object_of(_any.decode(metadata)) or {}
