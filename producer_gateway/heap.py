"""How this process keeps its memory: what one body leaves free is there for the next one.

By default glibc takes each block of over 128 kB from the kernel and gives it back when it is freed,
until it has seen larger ones freed. A body and its parts then get new pages each time, which the
kernel fills with zeros first: a fifth of what a post of 1.4 MB takes.
"""

import ctypes
import os
from typing import Final

import structlog

_LOG: Final = structlog.get_logger(__name__)
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
"""The names that mallopt(3) gives them, `M_TRIM_THRESHOLD` and `M_MMAP_THRESHOLD`."""
_MMAP_BYTES: Final = 8 * 1024 * 1024
"""A larger block goes back to the kernel at once: a catch-up POST leaves nothing behind."""
_TRIM_BYTES: Final = 64 * 1024 * 1024
"""So much that is free is kept at most, at the end of the heap."""
_OWN: Final = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
"""Who sets one of these knows better; glibc has read them before us."""


def keep_freed_memory() -> bool:
    """Have malloc keep what is freed, up to 64 MiB; return whether it does.

    It does not where the C library has no such setting (musl, macOS), or where the environment says
    how it shall be.
    """
    if any(name in os.environ for name in _OWN):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    kept = [mallopt(_MMAP_THRESHOLD, _MMAP_BYTES), mallopt(_TRIM_THRESHOLD, _TRIM_BYTES)]
    if not all(kept):
        _LOG.warning("malloc_stays", kept=kept)
    return all(kept)
