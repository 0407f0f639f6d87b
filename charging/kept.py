"""What is kept of a deferred callback, so that it can be settled when its topic has forgotten it.

The fields that billing reads, without its cost and without any content: a person's cost is put
into them as into the callback itself. Pure.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any, Final

import msgspec

from charging.spend import emptied, without_content
from schemas.attribution import object_of
from schemas.callback import ContractError
from schemas.reader import BILLING_FIELDS, Fields, read_values

_MOST_BYTES: Final = 64 * 1024
"""A client may name thousands of tags; a deferral is no place for them."""
_encoder: Final = msgspec.json.Encoder(decimal_format="number")
_COST: Final = "response_cost"
_ERROR: Final = "error_str"
"""Whether there is one is all that billing asks; it may quote the prompt."""


def settled_value(callback: bytes, cost_usd: Decimal) -> bytes:
    """Return the fields that billing reads of `callback`, with `cost_usd` as its cost.

    Raises `ContractError` where `callback` is none.
    """
    values, _ = read_values(callback)
    fields: Any = _with_fractions(values)
    return _encoder.encode(fields | {_COST: cost_usd, "status": "success"})


def kept_of(callback: bytes | None) -> bytes | None:
    """Return what is kept of a callback; None where it is none, or where it is too large."""
    try:
        values, _ = read_values(callback or b"")
    except ContractError:
        return None
    fields = _without_content(values, BILLING_FIELDS)
    fields.pop(_COST, None)
    if isinstance(fields.get(_ERROR), str) and fields[_ERROR]:
        fields[_ERROR] = _ERROR
    kept = _encoder.encode(_with_fractions(fields))
    return kept if len(kept) <= _MOST_BYTES else None


def _without_content(values: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    """Return `values` without any text that billing would not read.

    What has another shape than billing reads keeps that shape alone.
    """
    return {
        name: _SHAPED.get(name, partial(_part, nested=fields[name]))(value)
        for name, value in values.items()
    }


def _part(value: object, nested: Fields | None) -> object:
    if nested is not None:
        return _without_content(value, nested) if isinstance(value, dict) else emptied(value)
    return emptied(value) if isinstance(value, dict | list) else value


def _tags(value: object) -> object:
    """Return tags, or the one tag that a text is, as they are."""
    if isinstance(value, list):
        return [tag if isinstance(tag, str) else emptied(tag) for tag in value]
    return value if isinstance(value, str) else emptied(value)


def _header(value: object) -> object:
    """Return what LiteLLM made its metadata of: whether it could read it is all that is asked."""
    return {} if object_of(value) is not None else emptied(value)


_SHAPED: Final[Mapping[str, Callable[[object], object]]] = {
    "request_tags": _tags,
    "spend_logs_metadata": without_content,
    "x-litellm-spend-logs-metadata": _header,
}


def _with_fractions(value: object) -> object:
    """Return a value whose large numbers are still no integers where they were sent as none.

    An id of more digits than a float has is read from an integer only, and `1.0393368769284074e16`
    would become one: the call would have another key.
    """
    match value:
        case dict():
            return {name: _with_fractions(one) for name, one in value.items()}
        case list():
            return [_with_fractions(one) for one in value]
        case Decimal() if str(value).lstrip("-").isdigit():
            return msgspec.Raw(f"{value}.0".encode())
    return value
