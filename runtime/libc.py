"""The C library: its functions that Python has no name for, and how its malloc keeps memory."""

import ctypes
import os
from collections.abc import Callable, Collection, Mapping
from typing import Final

import structlog

_LOG: Final = structlog.get_logger("malloc")


def of_the_library(name: str) -> Callable[..., int] | None:
    """Return a function of the C library, None where that has none of this name (musl, macOS)."""
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
    return found


def set_malloc(values: Mapping[int, int], own: Collection[str]) -> bool:
    """Give malloc settings, by the numbers that mallopt(3) has for them; return whether it has all.

    It has none where the C library has no such settings, or where one of the variables `own` is
    set: who sets it knows better, and glibc has read it before us.
    """
    mallopt = of_the_library("mallopt")
    if mallopt is None or any(name in os.environ for name in own):
        return False
    kept = [mallopt(number, value) for number, value in values.items()]
    if not all(kept):
        _LOG.warning("malloc_stays", kept=kept)
    return all(kept)
