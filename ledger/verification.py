"""Verification: what was changed behind the ledger's back, told by its seals and checkpoints.

Seals say what a row was when it was written. Whoever may change rows may change seals as well, so
checkpoints chain them, and are published: whoever keeps one knows all that came before it.
"""

import hashlib
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, Literal, TypeAlias

import msgspec

from ledger.seals import ENTRY_BYTES, Kind, digest_of, seal_of

What: TypeAlias = Literal["altered", "added", "removed", "unsealed", "seal", "checkpoint"]
NOTHING_BEFORE: Final = bytes(32)
"""The hash before the first checkpoint."""


class Seal(msgspec.Struct, frozen=True, gc=False):
    """What a transaction has sealed."""

    written_at: datetime
    id: int
    digest: bytes
    entries: bytes
    person: str | None

    def split(self) -> list[bytes]:
        """Return the entry of each row."""
        steps = range(0, len(self.entries), ENTRY_BYTES)
        return [self.entries[at : at + ENTRY_BYTES] for at in steps]


class Row(msgspec.Struct, frozen=True, gc=False):
    """A row as it stands in the ledger now: when it was written, its digest, and its values."""

    written_at: datetime
    digest: bytes
    values: Sequence[Any]

    @property
    def entry(self) -> bytes:
        """What a seal has of it."""
        return self.digest[:ENTRY_BYTES]


class Problem(msgspec.Struct, frozen=True):
    """Something that is not as it was written.

    `altered`, `added` and `unsealed` name a row of a kind by its values, in the order in which they
    are sealed; of rows that are `removed` only their number and when they were written is known.
    `seal` and `checkpoint` are at fault themselves: `detail` says how.
    """

    what: What
    written_at: datetime | None
    kind: Kind | None = None
    values: Sequence[Any] = ()
    count: int = 1
    detail: str = ""


@dataclass
class Verified:
    """How much was looked at; `unsealed` are receipts from before the first seal."""

    receipts: int = 0
    corrections: int = 0
    unsealed: int = 0
    seals: int = 0
    checkpoints: int = 0
    last: bytes = field(default=NOTHING_BEFORE)


def compared(kind: Kind, rows: Sequence[Row], seals: Sequence[Seal]) -> Iterator[Problem]:
    """Yield what is wrong with rows, all of which are in one of these seals."""
    expected = Counter(entry for seal in seals for entry in seal.split())
    strange = []
    for row in rows:
        if expected[row.entry]:
            expected[row.entry] -= 1
        else:
            strange.append(row)
    missing = expected.total()
    # Where fewer are missing than are strange, nobody can say which of these is new.
    for number, row in enumerate(strange):
        yield Problem("altered" if number < missing else "added", row.written_at, kind, row.values)
    if missing > len(strange):
        gone = next(seal for seal in seals if any(expected[entry] for entry in seal.split()))
        yield Problem("removed", gone.written_at, kind, count=missing - len(strange))
    if not strange and not missing:
        yield from _forged(rows, seals)


def _forged(rows: Sequence[Row], seals: Sequence[Seal]) -> Iterator[Problem]:
    """Yield the seals whose digest is not that of their rows, though all entries are there."""
    by_entry = {row.entry: row.digest for row in rows}
    for seal in seals:
        if seal_of(by_entry[entry] for entry in seal.split())[0] != seal.digest:
            detail = f"seal {seal.id} has another digest than its rows"
            yield Problem("seal", seal.written_at, detail=detail)


def rows_of(kind: Kind, members: Iterable[Sequence[Any]]) -> list[Row]:
    """Return rows, each given with the moment at which it was written in front of its values."""
    return [Row(written_at, digest_of(kind, values), values) for written_at, *values in members]


def verified_receipts(
    rows: Iterable[Sequence[Any]], seals: Iterable[Seal], counted: Verified
) -> Iterator[Problem]:
    """Yield what is wrong with receipts; both are in the order of when they were written.

    A row has that moment in front of the values that are sealed. Those from before the first seal
    are counted only: nothing says what they were.
    """
    for _, there, sealed in by_moment(rows, seals):
        counted.receipts += len(there)
        counted.seals += len(sealed)
        if sealed:
            yield from compared("receipts", rows_of("receipts", there), sealed)
        elif counted.seals:
            for moment, *values in there:
                yield Problem("unsealed", moment, "receipts", values)
        else:
            counted.unsealed += len(there)


def by_moment(
    rows: Iterable[Sequence[Any]], seals: Iterable[Seal]
) -> Iterator[tuple[datetime, list[Sequence[Any]], list[Seal]]]:
    """Yield the rows and the seals of each moment, in order."""
    row_groups = groupby(rows, key=itemgetter(0))
    seal_groups = groupby(seals, key=lambda seal: seal.written_at)
    row, seal = _next(row_groups), _next(seal_groups)
    while row or seal:
        if row and (not seal or row[0] < seal[0]):
            yield row[0], row[1], []
            row = _next(row_groups)
        elif seal and (not row or seal[0] < row[0]):
            yield seal[0], [], seal[1]
            seal = _next(seal_groups)
        elif row and seal:
            yield row[0], row[1], seal[1]
            row, seal = _next(row_groups), _next(seal_groups)


def _next(groups: Iterator[tuple[datetime, Iterator[Any]]]) -> tuple[datetime, list[Any]] | None:
    for moment, members in groups:
        return moment, list(members)
    return None


def verified_chain(
    rows: Iterable[Sequence[Any]], published: Mapping[int, bytes], counted: Verified
) -> Iterator[Problem]:
    """Yield what is wrong with checkpoints.

    `rows` are those of `checkpoints_to_verify`; `published` has hashes that somebody has kept, by
    number.
    """
    before = NOTHING_BEFORE

    def wrong(detail: str, made_at: datetime | None = None) -> Problem:
        return Problem("checkpoint", made_at, detail=f"checkpoint {detail}")

    for number, group in groupby(rows, key=itemgetter(0)):
        members = list(group)
        _, previous, found, made_at, *_ = members[0]
        counted.checkpoints += 1
        if number != counted.checkpoints:
            yield wrong(f"{counted.checkpoints} is missing", made_at)
            counted.checkpoints = number
        if previous != before:
            yield wrong(f"{number} does not follow on the one before it", made_at)
        if link(previous, number, members) != found:
            yield wrong(f"{number} was made of other seals", made_at)
        if published.get(number, found) != found:
            yield wrong(f"{number} was published with another hash", made_at)
        before = counted.last = found
    if beyond := [number for number in published if number > counted.checkpoints]:
        yield wrong(f"{min(beyond)} was published and is missing")


def link(previous: bytes, number: int, members: Iterable[Sequence[Any]]) -> bytes:
    """Return the hash of a checkpoint, from the hash before it and its seals in order."""
    parts = [previous, struct.pack(">q", number)]
    for *_, seal, version, microseconds, records, kind, digest, entries in members:
        if seal is not None:
            parts.append(struct.pack(">qhqi", seal, version, microseconds, records))
            parts += [kind.encode(), digest, hashlib.sha256(entries).digest()]
    return hashlib.sha256(b"".join(parts)).digest()
