"""The fast path of a body as LiteLLM writes nearly all of them, each byte once.

The splitter takes every body apart, and whoever needs a callback's fields reads it again. Here the
cuts are guessed, and one reading of each part proves the guess: a list whose parts all are JSON
objects can be cut in no other way. Where a part is none, nothing is known, and the splitter has to
do it.
"""

import re
from typing import Final, TypeAlias

from producer_gateway.splitter import MAX_CALLBACKS
from schemas.callback import Identity
from schemas.reader import identify_fast

_BEGINNING: Final = re.compile(rb'\{("[^"\\]++": )"[^"\\]*+", ("[^"\\]++": )')
"""An object's first member and the name of its second: `{"id": "...", "litellm_call_id": `."""

_TAIL: Final = 24
"""Bytes at a callback's end: a part of `"web_search_options": null, "file_search": null}}`."""


Identified: TypeAlias = tuple[bytes, Identity]
"""A callback that strict JSON takes: its bytes as received, and what it is known by."""


def cut_fast(body: bytes) -> list[Identified] | None:
    """Return the callbacks of a list of objects, or of one object a line; None for other bodies.

    What is returned is what `splitter.split` and `schemas.reader.identify` return. LiteLLM
    (1.81.12 to 1.109.1) writes ASCII, `, ` between callbacks, and the same members first in each.
    """
    if not body.isascii():
        return None
    if not (body.startswith(b"[{") and body.endswith(b"}]")):
        return _read(_lines(body))
    # The longer what is searched for, the faster; callbacks of all captures end alike.
    return _read(_callbacks(body, _TAIL)) or _read(_callbacks(body, len(b"}")))


def _read(callbacks: list[bytes] | None) -> list[Identified] | None:
    if callbacks is None or len(callbacks) > MAX_CALLBACKS:
        return None
    identities = identify_fast(callbacks)
    return None if identities is None else list(zip(callbacks, identities, strict=True))


def _callbacks(body: bytes, tail: int) -> list[bytes]:
    """Cut where an object ends as the last one does and another begins as the first one does.

    A long end is hardly ever an inner object's; behind a short one the second name counts, too.
    """
    names = _names(body, 1)
    if names is None:
        return [body[1:-1]]
    boundary = body[-1 - tail : -1] + b", {" + names[0]
    callbacks, start = list[bytes](), 1
    found = body.find(boundary)
    while found >= 0 and len(callbacks) <= MAX_CALLBACKS:
        end = found + tail
        begin = end + len(b", ")
        if tail == _TAIL or _names(body, begin) == names:
            callbacks.append(body[start:end])
            start = begin
        found = body.find(boundary, end)
    callbacks.append(body[start:-1])
    return callbacks


def _names(body: bytes, position: int) -> tuple[bytes, bytes] | None:
    """Return the first two names of the object that begins here, where it begins as usual."""
    beginning = _BEGINNING.match(body, position)
    return (beginning[1], beginning[2]) if beginning is not None else None


def _lines(body: bytes) -> list[bytes] | None:
    """Cut into lines; None where one has something around its object."""
    lines = body.removesuffix(b"\n").split(b"\n", MAX_CALLBACKS)
    whole = all(line.startswith(b"{") and line.endswith(b"}") for line in lines)
    return lines if whole else None
