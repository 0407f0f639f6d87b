"""Values that say whose a call is: read where their meaning is plain, whatever their JSON type.

A client writes a run id as a number, a proxy in between writes metadata as JSON text. One rule, for
the gateway and the consumer: what the one takes for a run, the other does too.
"""

import json
from decimal import Decimal
from typing import Any, Final

import msgspec

_MOST: Final = 10**64
"""A number with more digits is no name of anything."""
_EXACT: Final = 2**53
"""Below it a float is the number that was written; above, two names could become one."""


def text_of(value: object) -> str | None:
    """Return a value as a text: a number is its digits; None where it is none or says nothing.

    `12`, `12.0` and `"12"` are the same text: JSON does not tell the first two apart.
    """
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return str(value) if -_MOST < value < _MOST else None
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float) and -_EXACT < value < _EXACT:
        return str(int(value)) if value.is_integer() else repr(float(value))
    return None


def object_of(value: object) -> dict[str, Any] | None:
    """Return a value as an object: itself, or the one that its JSON text holds; else None."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return None
    try:
        found = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        found = _leniently(value)
    return found if isinstance(found, dict) else None


def _leniently(text: str) -> object:
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def is_there(value: object) -> bool:
    """Say whether a value says anything at all; null, blank text and nothing do not."""
    if isinstance(value, str):
        return bool(value.strip())
    return value is not None
