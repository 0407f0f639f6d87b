"""What is kept of a deferred callback, so that it can be settled when its topic has forgotten it.

The fields that billing reads, without its cost and without any content: a person's cost is put
into them as into the callback itself. Pure.
"""

from decimal import Decimal
from typing import Any, Final

import msgspec

from schemas.callback import ContractError
from schemas.reader import read_values

_MOST_BYTES: Final = 64 * 1024
"""A client may name thousands of tags; a deferral is no place for them."""
_encoder: Final = msgspec.json.Encoder(decimal_format="number")
_COST: Final = "response_cost"


def settled_value(callback: bytes, cost_usd: Decimal) -> bytes:
    """Return the fields that billing reads of `callback`, with `cost_usd` as its cost.

    Raises `ContractError` where `callback` is none.
    """
    return _encoder.encode(_fields(callback) | {_COST: cost_usd, "status": "success"})


def kept_of(callback: bytes | None) -> bytes | None:
    """Return what is kept of a callback; None where it is none, or where it is too large."""
    try:
        fields = _fields(callback or b"")
    except ContractError:
        return None
    fields.pop(_COST, None)
    kept = _encoder.encode(fields)
    return kept if len(kept) <= _MOST_BYTES else None


def _fields(callback: bytes) -> dict[str, Any]:
    values, _ = read_values(callback)
    fields: dict[str, Any] = {name: _with_fractions(value) for name, value in values.items()}
    return fields


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
