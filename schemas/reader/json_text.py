"""JSON text from strangers: whether it is JSON at all, and what of it can be read if it is not.

What msgspec refuses (bare `Infinity`, lone surrogates, invalid UTF-8, control characters) is read
leniently, so that no client escapes its bill by what it sends in a header.
"""

import json
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec

MAX_NUMBER_CHARACTERS: Final = 400
"""A longer number is none that anything here could mean."""

_strict_decoder: Final = msgspec.json.Decoder(msgspec.Raw)
_SURROGATES: Final = re.compile(
    r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)
_LONE_LENGTH: Final = len(r"\ud800")


def is_strict_json(text: bytes) -> bool:
    """Say whether `text` is JSON by RFC 8259: its grammar, in UTF-8, no lone surrogate.

    A number may be of any size, as it may there: `1e400` is JSON, and so many parsers take it.
    """
    try:
        _strict_decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return is_utf8(text)


def is_utf8(text: bytes) -> bool:
    """Say whether `text` is UTF-8, which msgspec does not check in what it skips."""
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def number(text: str) -> Decimal | float:
    """Return a number with a point or an exponent, every digit kept.

    What is too long or too large to be an amount is a float: no cost is read from one.
    """
    if len(text) > MAX_NUMBER_CHARACTERS:
        return float(text)
    try:
        return Decimal(text)
    except InvalidOperation:
        return float(text)


def integer(text: str) -> int | float:
    """Return a whole number; NaN for one whose digits nobody can want."""
    return int(text) if len(text) <= MAX_NUMBER_CHARACTERS else float("nan")


def _without_lone_surrogates(text: str) -> str:
    return _SURROGATES.sub(
        lambda match: r"\ufffd" if len(match[0]) == _LONE_LENGTH else match[0], text
    )


def read_leniently(
    text: bytes,
    *,
    parse_float: Callable[[str], object] = number,
    parse_int: Callable[[str], object] = integer,
    parse_constant: Callable[[str], object] = float,
) -> object:
    """Return the value of JSON that may break its grammar in what proxies are known to break.

    Raises `ValueError` where it cannot be read even so.
    """
    mended = _without_lone_surrogates(text.decode("utf-8-sig", "replace"))
    try:
        return json.loads(
            mended,
            strict=False,
            parse_float=parse_float,
            parse_int=parse_int,
            parse_constant=parse_constant,
        )
    except RecursionError as error:
        raise ValueError(str(error)) from error
