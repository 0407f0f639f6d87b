"""The pages of an SQLite file as they lie on the disk, for a file that SQLite refuses.

The format is https://www.sqlite.org/fileformat2.html. Read is what a file of the spool has: one
table, pages of 4 KiB.
"""

from collections import Counter
from collections.abc import Iterator
from mmap import mmap
from struct import Struct
from typing import Final, NamedTuple

PAGE: Final = 4096
_LEAF: Final = 13
_INTERIOR: Final = 5
_ROOT: Final = 2
"""Of the only table."""
_HEAD: Final = 100
_LOG_HEAD: Final = Struct(">8I")
_FRAME_HEAD: Final = Struct(">6I")
_FRAME: Final = _FRAME_HEAD.size + PAGE
_MAGIC: Final = 0x377F0682
_MASK: Final = 0xFFFFFFFF
_FIXED: Final = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 7: 8, 8: 0, 9: 0}
"""Serial type -> bytes."""
_REAL: Final = 7
_BLOB: Final = 12
_TEXT: Final = 13
_MOST_LOCAL: Final = PAGE - 35
_LEAST_LOCAL: Final = (PAGE - 12) * 32 // 255 - 23
_MOST_PAYLOAD: Final = 1 << 30
_double: Final = Struct(">d")


class Row(NamedTuple):
    """A row of a table: its place, and its columns as they lie there."""

    sequence: int
    columns: list[int | float | bytes | None]


class _Frame(NamedTuple):
    page: int
    salts: tuple[int, int]
    fits: tuple[int, int]
    """The checksums of it and of all before it."""
    content: bytes
    checked: bytes
    """What the checksums are of."""


class Log:
    """A write-ahead log: pages that are newer than those of the file."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._order = "<"
        self._salts: tuple[int, int] | None = None
        self._first = (0, 0)
        if len(content) >= _LOG_HEAD.size:
            magic, _, _, _, *salts, one, two = _LOG_HEAD.unpack_from(content)
            self._order = ">" if magic & 1 else "<"
            sums = _sums(self._order, content[:24], (0, 0))
            if magic & ~1 == _MAGIC and sums == (one, two):
                self._salts, self._first = (salts[0], salts[1]), sums

    def trouble(self) -> str | None:
        """Return what is wrong with what was written; None where only its end may be torn."""
        if self._salts is None:
            return "the head of its log is damaged" if len(self._content) > _FRAME else None
        before, broken = self._first, False
        for frame in self._frames():
            # Where they differ it is of an earlier log, or nothing any more.
            fits = frame.salts == self._salts and (
                _sums(self._order, frame.checked, before) == frame.fits
            )
            if fits and broken:
                return "its log is damaged"
            broken = broken or not fits
            before = frame.fits
        return None

    def pages(self) -> dict[int, bytes]:
        """Return the newest content of each page, whole frames of this log only, fit or not."""
        frames = list(self._frames())
        salts = self._salts
        if salts is None and frames:
            salts = Counter(frame.salts for frame in frames).most_common(1)[0][0]
        return {frame.page: frame.content for frame in frames if frame.salts == salts}

    def _frames(self) -> Iterator[_Frame]:
        content = self._content
        for at in range(_LOG_HEAD.size, len(content) - _FRAME + 1, _FRAME):
            page, _, *rest = _FRAME_HEAD.unpack_from(content, at)
            body = content[at + _FRAME_HEAD.size : at + _FRAME]
            checked = content[at : at + 8] + body
            yield _Frame(page, (rest[0], rest[1]), (rest[2], rest[3]), body, checked)


def _sums(order: str, content: bytes, before: tuple[int, int]) -> tuple[int, int]:
    one, two = before
    words = Struct(f"{order}{len(content) // 4}I").unpack(content)
    for at in range(0, len(words), 2):
        one = (one + words[at] + two) & _MASK
        two = (two + words[at + 1] + one) & _MASK
    return one, two


class Pages:
    """The pages of a file and its log, and the rows on them."""

    def __init__(self, content: bytes | mmap, log: bytes = b"") -> None:
        self._content = content
        self._newer = Log(log).pages()
        self.count = max([len(content) // PAGE, *self._newer])
        self.broken = set[int]()
        """Pages that the table leads to and that are none of a table."""
        self.lost = 0
        """Rows whose place is known and that cannot be read."""

    def page(self, number: int) -> bytes:
        """Return a page's content; empty where there is none."""
        if number in self._newer:
            return self._newer[number]
        content = self._content[(number - 1) * PAGE : number * PAGE] if number > 0 else b""
        return content if len(content) == PAGE else b""

    def rows(self) -> Iterator[Row]:
        """Return all rows that can be read, each once.

        Where the table leads to all of its pages, only those on them. Else also those on pages that
        nothing leads to: some of them may have been removed long ago.
        """
        reached = self._leaves()
        numbers = sorted(reached)
        if self.broken:
            free = self._free()
            numbers += [n for n in range(2, self.count + 1) if n not in reached and n not in free]
        seen = set[int]()
        for number in numbers:
            for row in self._on(number):
                if row is None:
                    self.lost += number in reached
                elif row.sequence not in seen:
                    seen.add(row.sequence)
                    yield row

    def _leaves(self) -> set[int]:
        """Return the leaves that the table's root leads to."""
        found, waiting, seen = set[int](), [_ROOT], set[int]()
        while waiting:
            number = waiting.pop()
            if number in seen:
                continue
            seen.add(number)
            page = self.page(number)
            if page[:1] == bytes([_LEAF]):
                found.add(number)
            elif page[:1] == bytes([_INTERIOR]):
                waiting += self._children(page)
            else:
                self.broken.add(number)
        return found

    def _children(self, page: bytes) -> list[int]:
        places = [8, *_cells(page, 12)]
        return [int.from_bytes(page[at : at + 4], "big") for at in places]

    def _free(self) -> set[int]:
        """Return the pages that the file's head names as free."""
        found, trunk = set[int](), int.from_bytes(self.page(1)[32:36], "big")
        while trunk and trunk not in found and (page := self.page(trunk)):
            found.add(trunk)
            count = min(int.from_bytes(page[4:8], "big"), PAGE // 4 - 2)
            leaves = (page[8 + 4 * n : 12 + 4 * n] for n in range(count))
            found.update(int.from_bytes(leaf, "big") for leaf in leaves)
            trunk = int.from_bytes(page[:4], "big")
        return found

    def _on(self, number: int) -> Iterator[Row | None]:
        """Return the rows of a leaf, None for one that cannot be read."""
        page = self.page(number)
        if page[:1] != bytes([_LEAF]):
            return
        for at in _cells(page, 8):
            try:
                yield self._row(page, at)
            except (ValueError, IndexError):
                yield None

    def _row(self, page: bytes, at: int) -> Row:
        """Read a cell. Raises `ValueError` or `IndexError`."""
        size, at = _varint(page, at)
        sequence, at = _varint(page, at)
        if size > _MOST_PAYLOAD:
            raise ValueError("no such row")
        local = size
        if size > _MOST_LOCAL:
            local = _LEAST_LOCAL + (size - _LEAST_LOCAL) % (PAGE - 4)
            local = local if local <= _MOST_LOCAL else _LEAST_LOCAL
        payload = bytearray(page[at : at + local])
        following = int.from_bytes(page[at + local : at + local + 4], "big") if local < size else 0
        while len(payload) < size:
            content = self.page(following)
            if not content:
                raise ValueError("a page is missing")
            following = int.from_bytes(content[:4], "big")
            payload += content[4 : 4 + size - len(payload)]
        return Row(sequence, _columns(bytes(payload)))


def _cells(page: bytes, head: int) -> Iterator[int]:
    """Return where a page's cells begin."""
    count = min(int.from_bytes(page[3:5], "big"), (PAGE - head) // 2)
    for place in range(head, head + 2 * count, 2):
        at = int.from_bytes(page[place : place + 2], "big")
        if head <= at < PAGE:
            yield at


def _columns(payload: bytes) -> list[int | float | bytes | None]:
    end, at = _varint(payload, 0)
    kinds, found = list[int](), list[int | float | bytes | None]()
    while at < end:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    for kind in kinds:
        size = _FIXED[kind] if kind in _FIXED else (kind - _BLOB) // 2
        content = payload[at : at + size]
        if kind in (10, 11) or len(content) != size:
            raise ValueError("no such column")
        at += size
        found.append(_value(kind, content))
    return found


def _value(kind: int, content: bytes) -> int | float | bytes | None:
    if kind >= _BLOB:
        return content
    if kind == 0:
        return None
    if kind == _REAL:
        real: float = _double.unpack(content)[0]
        return real
    return int.from_bytes(content, "big", signed=True) if content else kind - 8


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return a number and where it ends. Raises `IndexError`."""
    value = 0
    for index in range(8):
        byte = content[at + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:  # noqa: PLR2004 - the format's
            return value, at + index + 1
    return value << 8 | content[at + 8], at + 9
