"""The C library: its functions that Python has no name for."""

import ctypes
from collections.abc import Callable


def of_the_library(name: str) -> Callable[..., int] | None:
    """Return a function of the C library, None where that has none of this name (musl, macOS)."""
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
    return found
