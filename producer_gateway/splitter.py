"""Cutting a posted body into its callbacks, byte for byte.

LiteLLM (1.81.12 to 1.109.1) posts a JSON array, one object, or one object a line, always as
`application/json`, written by Python's `json.dumps`: one client's `1e400` in a metadata header
makes it write the bare word `Infinity`, and a strict parser then refuses everybody's calls in
that body. So: strict JSON first, at C speed; where that refuses, each callback is cut out by its
brackets, and only the one that is wrong suffers (ONE_BAD_ELEMENT_LOSES_NO_NEIGHBOUR).

A callback is always a slice of the body; nothing is serialised again (RAW_BYTES_SURVIVE).
"""

import re
from bisect import bisect_left
from typing import Final, NamedTuple

import msgspec

from producer_gateway.scanner import Reading, Scanner
from schemas.reader import is_strict_json, is_utf8

MAX_CALLBACKS: Final = 100_000
"""Callbacks cut from one body. The smallest real one is 3.5 kB, so 128 MiB hold 38,000; a longer
list is not LiteLLM's, and its rest is parked as one region instead of as millions of records."""

_BOM: Final = b"\xef\xbb\xbf"
_STRICT_BYTES_PER_VALUE: Final = 16
_UNCOUNTED_BYTES: Final = 1024 * 1024
_list_decoder: Final = msgspec.json.Decoder(list[msgspec.Raw])
_value_decoder: Final = msgspec.json.Decoder(msgspec.Raw)
_LINE: Final = re.compile(rb"[^\r\n]++")
_NEXT_OBJECT: Final = re.compile(
    rb',[ \t\r\n]*+(?=\{[ \t\r\n]*+"(?:[^"\\\x00-\x1f]|\\.){0,200}"[ \t\r\n]*+:)'
)


class Cut(NamedTuple):
    """One callback: its bytes as received, and whether strict JSON refuses them."""

    value: bytes
    lenient: bool


class Damaged(NamedTuple):
    """A region of the body in which no callback could be found; parked as it is."""

    value: bytes


class Split(NamedTuple):
    """What was found, in the order of the body, and the number of `null` entries left out of it."""

    found: list[Cut | Damaged]
    nulls: int


def split(body: bytes) -> Split:
    """Cut `body` into callbacks and damaged regions. Never raises; work and memory are bounded.

    A byte order mark is tolerated. In an empty body or list nothing is found. Callbacks need not be
    objects here. Keys that occur twice stay as they are (whoever reads takes the last).
    """
    text = body.removeprefix(_BOM)
    scanner = Scanner(text)
    start = scanner.space(0)
    listed = text[start : start + 1] == b"["
    try:
        values = _strict(text, listed=listed)
    except (msgspec.DecodeError, RecursionError):
        return _lenient_list(scanner, start + 1) if listed else _lenient_lines(scanner, start)
    found = [Cut(value, not is_utf8(value)) for value in map(bytes, values) if value != b"null"]
    return Split(list(found), len(values) - len(found))


def _strict(text: bytes, *, listed: bool) -> list[msgspec.Raw]:
    # A list of a hundred million zeros would need gigabytes as objects. Separators bound the
    # number of values from above; real bodies have one comma in 35 bytes.
    if len(text) > _UNCOUNTED_BYTES:
        separators = text.count(b"," if listed else b"\n")
        if separators > max(MAX_CALLBACKS, len(text) // _STRICT_BYTES_PER_VALUE):
            raise msgspec.DecodeError("too many separators to decode at once")
    values = _list_decoder.decode(text) if listed else _value_decoder.decode_lines(text)
    if len(values) > MAX_CALLBACKS:
        raise msgspec.DecodeError("too many values to decode at once")
    return values


class _Found:
    """Collects what is found, in order."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._found: list[Cut | Damaged] = []
        self._nulls = 0

    def values(self, extents: list[tuple[int, int]]) -> None:
        for start, end in extents:
            value = self._body[start:end]
            if value == b"null":
                self._nulls += 1
            else:
                self._found.append(Cut(value, not is_strict_json(value)))

    def damaged(self, start: int, end: int) -> None:
        if self._body[start:end].strip():
            self._found.append(Damaged(self._body[start:end]))

    def split(self) -> Split:
        return Split(self._found, self._nulls)


def _lenient_list(scanner: Scanner, position: int) -> Split:
    """Cut a list whose text is not strict JSON.

    Callbacks are cut by their brackets. Where one is no JSON even leniently, or unbalanced (a quote
    or a bracket is missing), what looks like structure behind it may be text of its inside, until
    a boundary from which the rest is a list **to the end of the body**. An object nested in
    somebody's prompt never qualifies: the list around it ends before the body does. So text that
    a client sent cannot become a callback of its own.
    """
    body, found = scanner.body, _Found(scanner.body)
    chain, first = _values(scanner, position), 0
    while True:
        extents, stop = chain
        sound = _sound(scanner, chain, first)
        found.values(extents[first:sound])
        if stop is None and sound == len(extents):
            return found.split()
        damage = extents[sound][0] if sound < len(extents) or stop is None else stop
        resumed = _resume(scanner, chain, damage)
        if resumed is None:
            break
        boundary, chain, first = resumed
        found.damaged(damage, boundary)
    if stop is None:
        found.values(extents[sound:])
    else:
        found.damaged(damage, len(body))
    return found.split()


class _Chain(NamedTuple):
    """Values of a list, one behind the other, and where reading stopped: None at a clean end."""

    extents: list[tuple[int, int]]
    stop: int | None


def _values(scanner: Scanner, position: int) -> _Chain:
    """Return the chain of values from `position` to the end of the list and of the body.

    An empty slot (`,,`) holds nothing to keep. Reading stops before a value that is unbalanced or
    has something behind it that is neither `,` nor `]`.
    """
    body, extents = scanner.body, list[tuple[int, int]]()
    while len(extents) <= MAX_CALLBACKS:
        position = scanner.space(position)
        at = body[position : position + 1]
        if at == b"]" and scanner.space(position + 1) == len(body):
            return _Chain(extents, None)
        if at == b"," and scanner.spend(1):
            position += 1
            continue
        end = scanner.value_end(position)
        if end is None:
            break
        after = scanner.space(end)
        # A text that ends behind a whole value lacks no more than its end.
        if body[after : after + 1] not in (b",", b"]", b""):
            break
        extents.append((position, end))
        position = after
    return _Chain(extents, position)


def _sound(scanner: Scanner, chain: _Chain, first: int) -> int:
    """Return the index behind the last of the values, from `first` on, that are whole callbacks.

    A missing quote turns text into structure: nothing counts from the first value that breaks
    JSON's grammar. A stray `}` closes a callback early and leaves its other fields in the list as
    text and numbers: an object with such fields between it and the stop does not count either.
    """
    body, (extents, stop) = scanner.body, chain
    sound = len(extents)
    if stop is not None:
        suspicious = body[stop : stop + 1] not in (b"", b"{", b"]")
        while sound > first and not _is_entry(body, extents[sound - 1]):
            sound -= 1
            suspicious = True
        sound -= 1 if suspicious and sound > first else 0
    for index in range(first, sound):
        start, end = extents[index]
        if not is_strict_json(body[start:end]):
            reading, read_to = scanner.read(start)
            if reading is not Reading.TOO_DEEP and (reading, read_to) != (Reading.COMPLETE, end):
                return index
    return sound


def _is_entry(body: bytes, extent: tuple[int, int]) -> bool:
    """Whether LiteLLM could have put this value into the list."""
    return body[extent[0]] == ord("{") or body[slice(*extent)] == b"null"


def _resume(scanner: Scanner, chain: _Chain, damage: int) -> tuple[int, _Chain, int] | None:
    """Return the first boundary behind `damage` from which the rest is a list to the end.

    With it the chain that leads there, and the index in it. None where the text was merely cut off
    (then what looks like a boundary is inside the last callback), where no boundary qualifies, and
    where the work budget ends.
    """
    extents, stop = chain
    if stop is not None and scanner.read(damage)[0] in (Reading.CUT_OFF, Reading.TOO_DEEP):
        return None
    tried: set[int] = set()
    for comma in _NEXT_OBJECT.finditer(scanner.body, damage):
        start = comma.end()
        if not scanner.spend(0) or len(extents) > MAX_CALLBACKS:
            return None
        if start in tried or scanner.read(start)[0] is not Reading.COMPLETE:
            continue
        known = bisect_left(extents, (start, 0))
        if stop is None and known < len(extents) and extents[known][0] == start:
            return comma.start(), chain, known
        rest = _values(scanner, start)
        if rest.stop is None:
            return comma.start(), rest, 0
        tried.update(extent[0] for extent in rest.extents)
    return None


def _lenient_lines(scanner: Scanner, start: int) -> Split:
    """Cut one object, or one object a line, whose text is not strict JSON.

    A line counts only when it is a whole value and not indented: an indented line is part of a
    value written over several lines, and must not become a callback of its own.
    """
    body, found = scanner.body, _Found(scanner.body)
    reading, end = scanner.read(start)
    whole = reading is Reading.COMPLETE and scanner.space(end) == len(body)
    if whole and body[start : start + 1] == b"{":
        found.values([(start, end)])
        return found.split()
    extents, objects = _lines(scanner, start)
    if not objects:
        found.damaged(0, len(body))
        return found.split()
    position = 0
    for extent in extents:
        found.damaged(position, extent[0])
        found.values([extent])
        position = extent[1]
    found.damaged(position, len(body))
    return found.split()


def _lines(scanner: Scanner, start: int) -> tuple[list[tuple[int, int]], int]:
    """Return the extents of the lines that are values, and how many of them are objects."""
    body, extents, objects = scanner.body, list[tuple[int, int]](), 0
    for line in _LINE.finditer(body, start) if b"{" in body else ():
        begin = line.start()
        if not scanner.spend(0) or len(extents) >= MAX_CALLBACKS:
            break
        end = begin + len(line[0].rstrip())
        if scanner.value_end(begin) == end:
            extents.append((begin, end))
            objects += body[begin] == ord("{")
    return extents, objects
