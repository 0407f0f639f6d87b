"""How this process keeps its memory: what one body leaves free is there for the next one.

By default glibc takes each block of over 128 kB from the kernel and gives it back when it is freed,
until it has seen larger ones freed. A body and its parts then get new pages each time, which the
kernel fills with zeros first: a fifth of what a post of 1.4 MB takes.
"""

from collections.abc import Callable
from typing import Final

from runtime.libc import of_the_library, set_malloc

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
"""The numbers that mallopt(3) has for `M_TRIM_THRESHOLD` and `M_MMAP_THRESHOLD`."""
_MMAP_BYTES: Final = 8 * 1024 * 1024
"""A larger block goes back to the kernel at once: a catch-up POST leaves nothing behind."""
_TRIM_BYTES: Final = 64 * 1024 * 1024
"""So much that is free at the end of the heap is kept; between blocks in use it always is."""
_QUIET_S: Final = 10
"""After so many seconds without a body nothing is kept any more. LiteLLM sends every five."""
_OWN: Final = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
"""Who sets one of these knows better."""


def keep_freed_memory() -> bool:
    """Have malloc keep what is freed; return whether it does.

    It does not where the C library has no such setting (musl, macOS), or where the environment says
    how it shall be.
    """
    return set_malloc({_MMAP_THRESHOLD: _MMAP_BYTES, _TRIM_THRESHOLD: _TRIM_BYTES}, _OWN)


class FreedMemory:
    """What is kept for the next body, and given back when none comes."""

    def __init__(self, received: Callable[[], int]) -> None:
        """`received` returns how many bytes of bodies have come until now."""
        self._received = received
        self._seen = received()
        self._quiet_s = 0
        self._trim = of_the_library("malloc_trim")

    def look(self) -> None:
        """Give it back where nothing has come for ten seconds; to be called once a second."""
        seen, self._seen = self._seen, self._received()
        if seen != self._seen:
            self._quiet_s = 0
            return
        self._quiet_s += 1
        if self._quiet_s == _QUIET_S and self._trim is not None:
            self._trim(0)
