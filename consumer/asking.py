"""Asking: how the ledger and Kafka are asked by those who may not keep the loop from turning."""

from collections.abc import Callable
from typing import Protocol, TypeVar

_Answer = TypeVar("_Answer")


class RevokedError(Exception):
    """Partitions were taken away while something was asked: the answer may be another member's."""


class Ask(Protocol):
    """Has work done that asks a dependency, whose answer may be long in coming.

    Raises what the work raises, and may raise `RevokedError` although the work was done.
    """

    def __call__(self, work: Callable[[], _Answer], whom: str = "postgresql", /) -> _Answer:
        """Return what the work returns; `whom` is missing where that takes long."""
        ...
