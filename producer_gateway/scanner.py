"""Finding where a JSON value ends, in bytes that a JSON parser refuses.

A parser builds a value or gives up on the whole text. The splitter and the content cutter need
less and more: the extent of each value, whatever stands inside it. Both readings here are
iterative (nesting costs no stack), linear, and share one work budget for a body.
"""

import re
from enum import Enum, auto
from typing import Final, NamedTuple

_STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_WORD: Final = rb'[^\s\[\]{}",:]{1,4096}+'  # numbers and literals; nobody's are longer
STRING: Final = re.compile(_STRING, re.DOTALL)
WORD: Final = re.compile(_WORD)
SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_MEMBER: Final = re.compile(
    rb"[ \t\r\n]*+("
    + _STRING
    + rb")[ \t\r\n]*+:[ \t\r\n]*+(?=(.))("
    + _STRING
    + rb"|"
    + _WORD
    + rb")?+",
    re.DOTALL,
)
_FLAT: Final = re.compile(
    rb'[^\[\]{}"]*+(?:' + _STRING + rb'[^\[\]{}"]*+)*+',
    re.DOTALL,
)
_BRACKETS: Final = re.compile(rb"[\[{]++|[\]}]++")
_TOKEN: Final = re.compile(
    rb"[ \t\r\n]*+(?:(" + _STRING + rb")|([\[\]{},:])|" + _WORD + rb")", re.DOTALL
)
_CLOSER: Final = bytes.maketrans(b"[{", b"]}")

_STEP_COST: Final = 128
"""A step of a loop here costs about as much time as the pattern engine needs for 128 bytes."""
_WORK_FACTOR: Final = 4
"""Times that each byte of a body may be read. One reading suffices unless the body is damaged."""
_WORK_FLOOR: Final = 16 * 1024 * 1024
_MAX_GRAMMAR_DEPTH: Final = 1_000


class Reading(Enum):
    """How reading one value by JSON's grammar ended."""

    COMPLETE = auto()
    MALFORMED = auto()
    CUT_OFF = auto()
    """The text ended, and nothing before its end was wrong."""
    TOO_DEEP = auto()
    """Nested deeper than anybody sends; not read to its end."""


class Member(NamedTuple):
    """A member of an object: its key with the quotes, and where key, value and end are."""

    key: bytes
    start: int
    value: int
    end: int


class Scanner:
    """Reads extents in `body` until its work budget is used up; then every answer is "no"."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self._work = _WORK_FACTOR * len(body) + _WORK_FLOOR

    @property
    def exhausted(self) -> bool:
        """Whether the budget is used up."""
        return self._work <= 0

    def spend(self, read: int) -> bool:
        """Charge one step over `read` bytes; false when the budget is used up."""
        self._work -= _STEP_COST + read
        return self._work > 0

    def space(self, position: int) -> int:
        """Return the position of the first byte at or after `position` that is no white space."""
        match = SPACE.match(self.body, position)
        return match.end() if match else position

    def value_end(self, position: int) -> int | None:
        """Return the position after the value that starts at `position`.

        Only brackets are balanced, outside of strings; what stands between them is not looked at,
        so `Infinity`, lone surrogates or invalid UTF-8 do no harm. None where brackets do not
        match, the text ends first, or no value starts here.
        """
        first = self.body[position : position + 1]
        if first and first in b"[{":
            return self._container_end(position)
        match = (STRING if first == b'"' else WORD).match(self.body, position)
        if match is None or not self.spend(match.end() - position):
            return None
        return match.end()

    def members(self, position: int) -> list[Member]:
        """Return the members of the object at `position`; none where it is not one, or broken."""
        body, members, match = self.body, list[Member](), _MEMBER.match
        if body[position : position + 1] != b"{":
            return []
        while body[position : position + 1] in (b"{", b","):
            member = match(body, position + 1)
            if member is None or not self.spend(member.end() - position):
                return []
            end = member.end() if member[3] else self.value_end(member.start(2))
            if end is None:
                return []
            members.append(Member(member[1], member.start(1), member.start(2), end))
            position = self.space(end)
        return members if body[position : position + 1] == b"}" else []

    def _container_end(self, position: int) -> int | None:
        body, stack = self.body, bytearray()
        while True:
            flat = _FLAT.match(body, position)
            run = _BRACKETS.match(body, flat.end() if flat else position)
            if run is None or not self.spend(run.end() - position):
                return None
            position = run.end()
            brackets = run[0]
            if brackets[0] in b"[{":
                stack += brackets
                continue
            closing = min(len(brackets), len(stack))
            expected = stack[: -closing - 1 : -1].translate(_CLOSER)
            if expected != brackets[:closing]:
                return None
            del stack[-closing:]
            if not stack:
                return run.start() + closing

    def read(self, position: int) -> tuple[Reading, int]:
        """Read the value at `position` by JSON's grammar; return how it ended, and where.

        Stricter than `value_end` on structure, as lenient on words (`NaN`) and text.
        """
        stack = bytearray()
        expected = b"v"
        while True:
            token = _TOKEN.match(self.body, position)
            if token is None:
                return Reading.CUT_OFF, len(self.body)
            if not self.spend(token.end() - position):
                return Reading.MALFORMED, position
            position = token.end()
            expected = _after(token[2] or (b"s" if token[1] else b"w"), expected, stack)
            if not expected:
                return Reading.MALFORMED, position
            if not stack and expected == b",":
                return Reading.COMPLETE, position
            if len(stack) > _MAX_GRAMMAR_DEPTH:
                return Reading.TOO_DEEP, position


_NEXT: Final = {
    b"ks": b":",
    b"Ks": b":",
    b"::": b"v",
    b"vs": b",",
    b"vw": b",",
    b"Vs": b",",
    b"Vw": b",",
}


def _after(token: bytes, expected: bytes, stack: bytearray) -> bytes:
    """Return what may follow `token`, or nothing where it may not stand here.

    `token` is s (string), w (word) or the character; `expected` is v (value), V (value or `]`),
    k (key), K (key or `}`), `:` or `,` (comma or closing bracket). `stack` holds open brackets.
    """
    if token in b"[{":
        if expected not in b"vV":
            return b""
        stack += token
        return b"V" if token == b"[" else b"K"
    if token in b"]}":
        opened, empty = (b"[", b"V") if token == b"]" else (b"{", b"K")
        if stack[-1:] != opened or expected not in (b",", empty):
            return b""
        stack.pop()
        return b","
    if token == expected == b",":
        return b"v" if stack[-1:] == b"[" else b"k"
    return _NEXT.get(expected + token, b"")
