"""The fast path: callbacks that fit the contract as they stand, read and checked in one pass.

Nearly all do. Every other one is for `schemas.reader.thorough_path`.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from schemas.callback import Callback, Cost, Identity, NamedCall, cost_of
from schemas.identity import identity_of
from schemas.reader.json_text import is_utf8, number


def _read_cost(_: type, value: object) -> Cost:
    """Read the one type of the contract that msgspec does not know."""
    return cost_of(value)


_callback: Final = msgspec.json.Decoder(Callback, dec_hook=_read_cost, float_hook=number)
_named_call: Final = msgspec.json.Decoder(NamedCall, float_hook=number)


def read_fast(callback: bytes) -> Callback | None:
    """Return a callback that fits the contract as it stands; None for any other."""
    if not is_utf8(callback):
        return None
    try:
        return _callback.decode(callback)
    except (ValueError, RecursionError):
        return None


def identify_fast(callbacks: Sequence[bytes]) -> list[Identity] | None:
    """Return what `schemas.reader.identify` returns for each of `callbacks`, which are ASCII.

    None where one of them is no object, or takes the thorough path.
    """
    decode = _named_call.decode
    try:
        return [identity_of(decode(callback)) for callback in callbacks]
    except (ValueError, RecursionError):
        return None
