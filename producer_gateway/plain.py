"""Reading a body as LiteLLM writes nearly all of them, each byte once.

The splitter takes every body apart, and whoever needs an element's fields reads it again. Here the
cuts are guessed, and one reading of each piece proves the guess: a list whose pieces all are JSON
objects can be cut in no other way. Where a piece is not, nothing is known, and the splitter has to
do it.
"""

import re
from typing import Any, Final, NamedTuple, TypedDict

import msgspec

from producer_gateway.splitter import MAX_ELEMENTS
from schemas.identity import Identity, identity_of

_BEGINNING: Final = re.compile(rb'\{("[^"\\]++": )"[^"\\]*+", ("[^"\\]++": )')
"""An object's first member and the name of its second: `{"id": "...", "litellm_call_id": `."""

_TAIL: Final = 24
"""Bytes at an element's end: a part of `"web_search_options": null, "file_search": null}}`."""


class _Metadata(TypedDict, total=False):
    spend_logs_metadata: Any


class _Wire(TypedDict, total=False):
    """What `identity_of` reads. Values of other types than these make the body not plain."""

    id: Any
    litellm_call_id: Any
    call_type: Any
    end_user: Any
    metadata: _Metadata | None


_decoder: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(_Wire)


class Plain(NamedTuple):
    """An element that strict JSON takes: its bytes as received, and what it is known by."""

    raw: bytes
    identity: Identity


def read_plain(body: bytes) -> list[Plain] | None:
    """Return the elements of a list of objects, or of one object a line; None where not plain.

    What is returned is what `splitter.split` and `schemas.identity.identify` return. LiteLLM
    (1.81.12 to 1.109.1) writes ASCII, `, ` between elements, and the same members first in each.
    """
    if not body.isascii():
        return None
    if not (body.startswith(b"[{") and body.endswith(b"}]")):
        return _read(_lines(body))
    # The longer what is searched for, the faster; elements of all captures end alike.
    return _read(_elements(body, _TAIL)) or _read(_elements(body, len(b"}")))


def _read(pieces: list[bytes] | None) -> list[Plain] | None:
    if pieces is None or len(pieces) > MAX_ELEMENTS:
        return None
    decode = _decoder.decode
    try:
        return [Plain(raw, identity_of(decode(raw))) for raw in pieces]
    except (ValueError, RecursionError):
        return None


def _elements(body: bytes, tail: int) -> list[bytes]:
    """Cut where an object ends as the last one does and another begins as the first one does."""
    first = _BEGINNING.match(body, 1)
    if first is None:
        return [body[1:-1]]
    names, boundary = first.groups(), body[-1 - tail : -1] + b", {" + first[1]
    pieces, start = list[bytes](), 1
    found = body.find(boundary)
    while found >= 0 and len(pieces) <= MAX_ELEMENTS:
        end = found + tail
        begin = end + len(b", ")
        following = _BEGINNING.match(body, begin)
        if following is not None and following.groups() == names:
            pieces.append(body[start:end])
            start = begin
        found = body.find(boundary, end)
    pieces.append(body[start:-1])
    return pieces


def _lines(body: bytes) -> list[bytes] | None:
    """Cut into lines; None where one has something around its object."""
    lines = body.removesuffix(b"\n").split(b"\n", MAX_ELEMENTS)
    whole = all(line.startswith(b"{") and line.endswith(b"}") for line in lines)
    return lines if whole else None
