"""The terms of a charge: what is known about a call beside its callback."""

import msgspec

from charging.outcomes import Settlement
from schemas.reader import Reading


class Origin(msgspec.Struct, frozen=True, gc=False):
    """What a record says beside its value.

    `received_ms` is when the call was received, in milliseconds since the epoch, always a time that
    a date can hold.
    """

    source_system: str
    received_ms: int
    settlement: Settlement | None


class ChargeTerms(msgspec.Struct, frozen=True, gc=False):
    """What is known about a call beside its callback."""

    origin: Origin
    reading: Reading
