"""Plain elements: those that fit the contract as they stand, read and checked in one pass.

Nearly all do. Every other one is for `schemas.element`, which says what is wrong with it or reads
it all the same; what both take, both read alike.
"""

import re
from decimal import Decimal
from typing import Any, Final, cast

import msgspec
from pydantic import BaseModel

from schemas.callback import Callback
from schemas.element import EXACT, is_utf8, nested_model

_PRICE: Final = re.compile(rb"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,25})?(?:[eE]-[0-3]?[0-9])?")
"""Non-negative JSON numbers that are money by their form: below 1e9, and no digit beyond 1e-60."""
_NULL: Final = msgspec.Raw(b"null")
_ZERO: Final = Decimal(0)


def _plain_type(model: type[BaseModel]) -> type[msgspec.Struct]:
    """Return `model` as a type that msgspec reads: the same fields, prices as they were sent."""
    fields: list[tuple[str, object, object]] = []
    for name, field in model.model_fields.items():
        if name in EXACT:
            fields.append((name, msgspec.Raw, _NULL))
            continue
        part = nested_model(field.annotation)
        kind = _plain_type(part) | None if part else field.annotation
        fields.append((name, kind, msgspec.NODEFAULT if field.is_required() else None))
    aliases = {name: field.alias for name, field in model.model_fields.items() if field.alias}
    # What was read from JSON has no cycles for the garbage collector to find.
    return msgspec.defstruct(model.__name__, fields, rename=aliases, kw_only=True, gc=False)


_decoder: Final = msgspec.json.Decoder(_plain_type(Callback))


def _price(raw: msgspec.Raw) -> Decimal | None:
    """Return a price, every digit kept. Raises `ValueError` where it takes a closer look."""
    if raw is _NULL or (text := bytes(raw)) == b"null":
        return None
    if not _PRICE.fullmatch(text):
        raise ValueError("not money by its form")
    return Decimal(text.decode()) or _ZERO


def read_plain(element: bytes) -> Callback | None:
    """Return the callback, or None where the element is not a plain one.

    What comes back has the fields of a `Callback` with the values that `schemas.element.check`
    would give them; making a pydantic model of it would take longer than reading it.
    """
    if not is_utf8(element):
        return None
    try:
        read: Any = _decoder.decode(element)
        read.response_cost = _price(read.response_cost)
        read.saved_cache_cost = _price(read.saved_cache_cost)
        if breakdown := read.cost_breakdown:
            breakdown.total_cost = _price(breakdown.total_cost)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return cast("Callback", read)
