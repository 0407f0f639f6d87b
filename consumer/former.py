"""Commands that were the consumer's before 0.2.0: what people do by hand has a room of its own."""

import os
import sys
from typing import Final, NoReturn

BY_HAND: Final = ("migrate", "topics", "report", "replay", "deferred", "dead-letters", "explain")
"""Older names of commands of `billing`."""


def passes_on(arguments: list[str]) -> bool:
    """Whether these arguments of `python -m consumer` are a command of `billing`."""
    return bool(arguments) and arguments[0] in BY_HAND


def pass_on(arguments: list[str]) -> NoReturn:
    """Become `billing` with these arguments."""
    os.execv(sys.executable, [sys.executable, "-m", "operator_cli", *arguments])  # noqa: S606
