"""How the ledger is asked where nothing turns meanwhile."""

from collections.abc import Callable
from typing import TypeVar

_Answer = TypeVar("_Answer")


def at_once(work: Callable[[], _Answer], whom: str = "postgresql", /) -> _Answer:
    """Ask, and wait for the answer."""
    del whom  # nothing is said of it where nothing waits
    return work()
