"""Reading an element: from the bytes that LiteLLM sent to the contract, every digit kept.

Strict JSON goes through msgspec and touches only the fields that billing reads. What msgspec
refuses (bare `Infinity`, lone surrogates, invalid UTF-8, control characters, numbers beyond a
float) is read leniently instead, so that no client escapes its bill by sending `1e400` in a
header. Where a key occurs twice, the last one counts, in both readings.
"""

import json
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from types import UnionType
from typing import Any, Final, NamedTuple, Self, TypeAlias, TypedDict, get_args

import msgspec
from pydantic import BaseModel, ValidationError

from schemas.attribution import is_there, object_of, text_of
from schemas.callback import REQUIRED_FIELDS, Callback
from schemas.headers import Reason
from schemas.text import storable

Wire: TypeAlias = dict[str, Any]
"""An element reduced to the fields of the contract, values not yet checked."""
Fields: TypeAlias = Mapping[str, "Fields | None"]

EXACT: Final = frozenset({"response_cost", "saved_cache_cost", "total_cost"})
"""Fields that hold prices, whose digits are all kept."""
_MAX_NUMBER_CHARACTERS: Final = 400
_MAX_SENT_COST: Final = 200


class ContractError(ValueError):
    """An element that cannot be billed as it stands; `reason` is the code on the dead letter."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


def nested_model(annotation: object) -> type[BaseModel] | None:
    """Return the part of the contract that a field of this type holds, None for a plain value."""
    parts = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    models = [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
    return models[0] if models else None


def _fields(model: type[BaseModel]) -> Fields:
    found: dict[str, Fields | None] = {}
    for name, field in model.model_fields.items():
        nested = nested_model(field.annotation)
        found[field.alias or name] = _fields(nested) if nested else None
    return found


def _wire_type(name: str, fields: Fields) -> object:
    members: dict[str, object] = {}
    for field, nested in fields.items():
        if nested is not None:
            members[field] = _wire_type(f"{name}_{field}", nested) | None  # type: ignore[operator]
        else:
            members[field] = msgspec.Raw if field in EXACT else Any
    return TypedDict(name, members, total=False)  # type: ignore[operator]


BILLING_FIELDS: Final[Fields] = _fields(Callback)
"""The fields that billing reads, by JSON name; a nested mapping for an object, None for a value."""

_decoder: Final = msgspec.json.Decoder(_wire_type("CallbackWire", BILLING_FIELDS))
_cost_decoder: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(
    _wire_type("CostWire", {"response_cost": None})
)
_strict_decoder: Final = msgspec.json.Decoder(msgspec.Raw)


class _TextFloat(float):
    """A float, as strict reading has it, that keeps the digits it was read from."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Self:
        read = super().__new__(cls, text)
        read.text = text
        return read


def _integer(text: str) -> int | _TextFloat:
    if len(text) <= _MAX_NUMBER_CHARACTERS:
        return int(text)
    read = _TextFloat("NaN")
    read.text = text
    return read


def _number(text: str) -> Decimal:
    if len(text) > _MAX_NUMBER_CHARACTERS:
        return Decimal("NaN")
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("Infinity")


def _exact(raw: msgspec.Raw) -> object:
    text = bytes(raw)
    if text == b"null":
        return None
    if text[:1] in b"-0123456789":
        return _number(text.decode("ascii"))
    return msgspec.json.decode(text)


def _restore_exact(wire: Wire) -> None:
    for field in EXACT & wire.keys():
        wire[field] = _exact(wire[field])
    if breakdown := wire.get("cost_breakdown"):
        _restore_exact(breakdown)


_SURROGATES: Final = re.compile(
    r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)
_LONE_LENGTH: Final = len(r"\ud800")


def _without_lone_surrogates(text: str) -> str:
    return _SURROGATES.sub(
        lambda match: r"\ufffd" if len(match[0]) == _LONE_LENGTH else match[0], text
    )


def _project(value: object, fields: Fields) -> object:
    if not isinstance(value, dict):
        return value
    wire = {
        name: _part(value[name], nested) if nested is not None else value[name]
        for name, nested in fields.items()
        if name in value
    }
    for field in EXACT & wire.keys():
        if isinstance(read := wire[field], _TextFloat):
            wire[field] = _number(read.text)
    return wire


def _part(value: object, fields: Fields) -> object:
    """Reduce a part of an element, which may be an object in JSON text."""
    found = object_of(value)
    return value if found is None else _project(found, fields)


def _loads(element: bytes) -> object:
    text = _without_lone_surrogates(element.decode("utf-8-sig", "replace"))
    try:
        return json.loads(
            text,
            strict=False,
            parse_float=_TextFloat,
            parse_int=_integer,
            parse_constant=_TextFloat,
        )
    except (ValueError, RecursionError) as error:
        raise ContractError(
            Reason.UNREADABLE, f"not JSON even when read leniently: {error}"
        ) from error


def read_leniently(element: bytes, fields: Fields) -> Wire:
    """Read `fields` out of an element that strict JSON may refuse, unchecked.

    Raises `ContractError` (`unreadable`, `not_an_object`).
    """
    value = _loads(element)
    wire = _project(value, fields)
    if not isinstance(wire, dict):
        raise ContractError(
            Reason.NOT_AN_OBJECT, f"an element must be an object, not {type(value)}"
        )
    return wire


def read_wire(element: bytes) -> tuple[Wire, bool]:
    """Read the fields of the contract out of `element`, unchecked, prices as exact decimals.

    Returns the fields and whether strict JSON refused the element. Raises `ContractError` with
    `unreadable` or `not_an_object`.
    """
    try:
        wire: Wire = _decoder.decode(element)
        _restore_exact(wire)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return read_leniently(element, BILLING_FIELDS), not is_strict_json(element)
    return wire, not is_utf8(element)


def is_strict_json(element: bytes) -> bool:
    """Say whether `element` is JSON by RFC 8259: its grammar, in UTF-8, no lone surrogate.

    A number may be of any size, as it may there: `1e400` is JSON, and so many parsers take it.
    """
    try:
        _strict_decoder.decode(element)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return is_utf8(element)


def is_utf8(element: bytes) -> bool:
    """Say whether `element` is UTF-8, which msgspec does not check in what it skips."""
    if element.isascii():
        return True
    try:
        element.decode()
    except UnicodeDecodeError:
        return False
    return True


def _without(wire: Wire, location: tuple[int | str, ...]) -> None:
    """Drop the value at `location`, or the deepest object on the way to it."""
    part: Any = wire
    for step in location[:-1]:
        if not isinstance(part.get(step), dict):
            part.pop(step, None)
            return
        part = part[step]
    part.pop(location[-1], None)


class Checked(NamedTuple):
    """A callback that fits the contract, and what of the element did not.

    `cost_unusable`: it came with a cost that is no money. `dropped` are the paths of other fields
    whose values could not be read.
    """

    callback: Callback
    cost_unusable: bool = False
    dropped: frozenset[str] = frozenset()


def check(wire: Wire) -> Checked:
    """Hold `wire` against the contract.

    Fields that billing does not need are dropped where their type is wrong, and so is a cost that
    is no money. Raises `ContractError` (`contract_broken`). `wire` may be changed.
    """
    dropped = _drop_odd_tags(wire)
    try:
        return Checked(Callback.model_validate(wire), dropped=dropped)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
    for problem in problems:
        if problem["loc"][0] in REQUIRED_FIELDS:
            raise ContractError(Reason.CONTRACT_BROKEN, problem["msg"])
    for problem in problems:
        _without(wire, problem["loc"])
    paths = {".".join(map(str, problem["loc"])) for problem in problems}
    unusable = "response_cost" in paths
    dropped |= paths - {"response_cost"}
    return Checked(Callback.model_validate(wire), unusable, dropped)


def _drop_odd_tags(wire: Wire) -> frozenset[str]:
    """Keep the tags that are texts or numbers; a single text is one tag."""
    tags = wire.get("request_tags")
    if isinstance(tags, str):
        tags = [tags]
    if not isinstance(tags, list):
        return frozenset()
    wire["request_tags"] = [text for tag in tags if (text := _tag(tag)) is not None]
    odd = any(is_there(tag) and _tag(tag) is None for tag in tags)
    return frozenset({"request_tags"} if odd else ())


def _tag(tag: object) -> str | None:
    return tag if isinstance(tag, str) else text_of(tag)


def sent_cost(element: bytes) -> str:
    """Return `response_cost` as the sender wrote it: its JSON text, bounded. For people only.

    Raises `ContractError` where `element` is no object.
    """
    try:
        raw = _cost_decoder.decode(element).get("response_cost", b"")
        text = bytes(raw).decode("utf-8", "replace")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = _loads(element)
        cost = value.get("response_cost", "") if isinstance(value, dict) else ""
        text = cost.text if isinstance(cost, _TextFloat) else json.dumps(cost)
    text = storable(text)
    return text if len(text) <= _MAX_SENT_COST else f"{text[:_MAX_SENT_COST]}…"
