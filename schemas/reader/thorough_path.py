"""The thorough path: any callback, its values first, then each of them held against its type.

Strict JSON goes through msgspec and touches only the fields that billing reads. What strict JSON
refuses is read leniently instead, so that no client escapes its bill by sending `Infinity` in a
header.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import cache
from typing import Any, Final, NamedTuple, NoReturn, Self, TypeAlias, TypedDict, get_args

import msgspec
from pydantic import TypeAdapter

from schemas.attribution import is_there, object_of, text_of
from schemas.callback import Callback, ContractError, Cost, Name, cost_of
from schemas.headers import Reason
from schemas.reader.json_text import (
    MAX_NUMBER_CHARACTERS,
    is_strict_json,
    is_utf8,
    number,
    read_leniently,
)
from schemas.text import storable

Values: TypeAlias = dict[str, Any]
"""Fields of a callback by their JSON names, values of whatever type was sent."""
Fields: TypeAlias = Mapping[str, "Fields | None"]
"""Names of fields; a nested mapping for an object, None for a value."""

_MAX_SENT_COST: Final = 200


def _kind(annotation: object) -> Any:  # noqa: ANN401 - a type, annotated or not
    """Return the type of a field without the null that it may be."""
    members = get_args(annotation)
    return members[0] if type(None) in members else annotation


def _part(annotation: object) -> type[msgspec.Struct] | None:
    """Return the part of a callback that a field of this type holds, None for a plain value."""
    kind = _kind(annotation)
    return kind if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else None


def fields_of(part: type[msgspec.Struct]) -> Fields:
    """Return the fields of a declared type, by JSON name."""
    parts = {field.encode_name: _part(field.type) for field in msgspec.structs.fields(part)}
    return {name: fields_of(inner) if inner else None for name, inner in parts.items()}


BILLING_FIELDS: Final[Fields] = fields_of(Callback)
"""The fields that billing reads."""


def _untyped(name: str, fields: Fields) -> object:
    """Return an object of these fields as a type that msgspec reads, whatever their values are."""
    members: dict[str, object] = dict.fromkeys(fields, Any)
    for field, nested in fields.items():
        if nested is not None:
            members[field] = _untyped(f"{name}_{field}", nested) | None  # type: ignore[operator]
    return TypedDict(name, members, total=False)  # type: ignore[operator]


_decoder: Final = msgspec.json.Decoder(_untyped("Callback", BILLING_FIELDS), float_hook=number)


def read_values(callback: bytes) -> tuple[Values, bool]:
    """Read the fields of the contract out of a callback, unchecked; prices keep their digits.

    Returns the fields and whether strict JSON refused the bytes. Raises `ContractError` with
    `unreadable` or `not_an_object`.
    """
    try:
        values: Values = _decoder.decode(callback)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return read_object(callback, BILLING_FIELDS), not is_strict_json(callback)
    return values, not is_utf8(callback)


def read_object(text: bytes, fields: Fields) -> Values:
    """Read `fields` out of an object that strict JSON may refuse, unchecked.

    Raises `ContractError` (`unreadable`, `not_an_object`).
    """
    try:
        value = read_leniently(text)
    except ValueError as error:
        raise ContractError(
            Reason.UNREADABLE, f"not JSON even when read leniently: {error}"
        ) from error
    if not isinstance(value, dict):
        kind = float if isinstance(value, Decimal) else type(value)
        raise ContractError(Reason.NOT_AN_OBJECT, f"a callback must be an object, not {kind}")
    return _only(value, fields)


def _only(value: Values, fields: Fields) -> Values:
    """Reduce an object to `fields`; a part of it may be an object in JSON text."""
    values: Values = {}
    for name, nested in fields.items():
        if name in value:
            found = None if nested is None else object_of(value[name])
            values[name] = value[name] if nested is None or found is None else _only(found, nested)
    return values


def _refuse(_: object) -> NoReturn:
    """Refuse what is no text, flag or object where one is expected: "yes" makes no call free."""
    raise TypeError("another type is expected")


def _name(value: object) -> str:
    return text_of(value) or _refuse(value)


_whole_number: Final = TypeAdapter(int)
_any_number: Final = TypeAdapter(float)


def _count(value: object) -> int:
    return _whole_number.validate_python(float(value) if isinstance(value, Decimal) else value)


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, Decimal) else _any_number.validate_python(value)


def _tag(tag: object) -> str | None:
    return tag if isinstance(tag, str) else text_of(tag)


def _tags(value: object) -> list[str]:
    """Keep the tags that are texts or numbers; a single text is one tag."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise TypeError("no list")
    return [text for tag in value if (text := _tag(tag)) is not None]


def _has_odd_tags(value: object) -> bool:
    tags = value if isinstance(value, list) else []
    return any(is_there(tag) and _tag(tag) is None for tag in tags)


_READERS: Final[Mapping[object, Callable[[object], object]]] = {
    Name: _name,
    int: _count,
    float: _seconds,
    list[str]: _tags,
    Cost: cost_of,
    Any: lambda value: value,
}
"""How a value of another type becomes one of the declared type; each raises where it cannot."""


class _Field(NamedTuple):
    """A field of a declared type: what it is called there and in JSON, and what it may hold."""

    name: str
    sent_name: str
    required: bool
    kind: object
    part: type[msgspec.Struct] | None
    read: Callable[[object], object]


@cache
def _fields(part: type[msgspec.Struct]) -> Sequence[_Field]:
    found = []
    for field in msgspec.structs.fields(part):
        kind = _kind(field.type)
        read, kind = _READERS.get(kind, _refuse), str if kind == Name else kind
        names = (field.name, field.encode_name)
        found.append(_Field(*names, field.required, kind, _part(field.type), read))
    return found


def fitting(
    part: type[msgspec.Struct], values: Values, odd: set[str], path: str = ""
) -> dict[str, Any]:
    """Return the arguments that make a `part` of `values`.

    To `odd` are added the paths, from `path` on, of values that do not fit; they are left out. A
    required field is left out as well where it is null or missing.
    """
    fitted: dict[str, Any] = {}
    for name, sent_name, required, kind, nested, read in _fields(part):
        value = values.get(sent_name)
        if type(value) is kind:
            fitted[name] = value
        elif value is None:
            if required and sent_name in values:
                odd.add(path + sent_name)
        elif nested and isinstance(value, dict):
            fitted[name] = nested(**fitting(nested, value, odd, f"{path}{sent_name}."))
        else:
            try:
                fitted[name] = read(value)
            except (ValueError, TypeError):
                odd.add(path + sent_name)
            if read is _tags and _has_odd_tags(value):
                odd.add(path + sent_name)
    return fitted


class _Sent(float):
    """A number that keeps the text it was read from."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str, value: float | None = None) -> Self:
        read = super().__new__(cls, text if value is None else value)
        read.text = text
        return read


def _sent_integer(text: str) -> int | _Sent:
    return int(text) if len(text) <= MAX_NUMBER_CHARACTERS else _Sent(text, math.nan)


class _SentCost(msgspec.Struct):
    response_cost: msgspec.Raw = msgspec.Raw()


_cost_decoder: Final = msgspec.json.Decoder(_SentCost)


def sent_cost(callback: bytes) -> str:
    """Return `response_cost` as the sender wrote it: its JSON text, bounded. For people only."""
    try:
        text = bytes(_cost_decoder.decode(callback).response_cost).decode("utf-8", "replace")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = _leniently_sent_cost(callback)
    text = storable(text)
    return text if len(text) <= _MAX_SENT_COST else f"{text[:_MAX_SENT_COST]}…"


def _leniently_sent_cost(callback: bytes) -> str:
    value = read_leniently(
        callback, parse_float=_Sent, parse_int=_sent_integer, parse_constant=_Sent
    )
    cost = value.get("response_cost", "") if isinstance(value, dict) else ""
    return cost.text if isinstance(cost, _Sent) else json.dumps(cost)
