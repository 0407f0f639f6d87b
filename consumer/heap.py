"""How the threads of this process share its heap.

By default glibc gives threads heaps of their own, up to eight a processor. A batch's bytes come in
by one thread and are freed by another, and what is free in the heap of one is of no use to the
others: a fifth of the memory of a consumer that is behind was such room.
"""

import os
from typing import Final

import structlog

from runtime.libc import of_the_library

_LOG: Final = structlog.get_logger("consumer")
_ARENA_MAX: Final = -8
"""The number that mallopt(3) has for `M_ARENA_MAX`."""
_HEAPS: Final = 2
"""One takes hardly less, and then every thread waits for the same lock."""
_OWN: Final = ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")
"""Who sets one of these knows better; glibc has read them before us."""


def share_heaps() -> bool:
    """Have all threads that begin later share two heaps; return whether they do.

    They do not where the C library has no such setting (musl, macOS), or where the environment says
    how it shall be.
    """
    if any(name in os.environ for name in _OWN):
        return False
    mallopt = of_the_library("mallopt")
    if mallopt is None:
        return False
    shared = bool(mallopt(_ARENA_MAX, _HEAPS))
    if not shared:
        _LOG.warning("malloc stays as it is")
    return shared
