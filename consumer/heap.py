"""How the threads of this process share its heap.

By default glibc gives threads heaps of their own, up to eight a processor. A batch's bytes come in
by one thread and are freed by another, and what is free in the heap of one is of no use to the
others: a fifth of the memory of a consumer that is behind was such room.
"""

from typing import Final

from runtime.libc import set_malloc

_ARENA_MAX: Final = -8
"""The number that mallopt(3) has for `M_ARENA_MAX`."""
_HEAPS: Final = 2
"""One takes hardly less, and then every thread waits for the same lock."""
_OWN: Final = ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")
"""Who sets one of these knows better."""


def share_heaps() -> bool:
    """Have all threads that begin later share two heaps; return whether they do.

    They do not where the C library has no such setting (musl, macOS), or where the environment says
    how it shall be.
    """
    return set_malloc({_ARENA_MAX: _HEAPS}, _OWN)
