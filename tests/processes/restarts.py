"""Parts that are not ours and did not come up or crashed: begun again, and told at the end."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from tests.processes.process import ServerError

T = TypeVar("T")

AT_MOST: Final = 2
"""How often one is begun again before that is a failure."""


class Notes:
    """One line for each restart, in a file that every process of a test run adds to."""

    file: Path | None = None


def note(part: str, why: str) -> None:
    """Keep for the last lines of the run that `part` was begun again."""
    told = " ".join(why.split())[:200]
    if Notes.file is None:
        print(f"{part} was begun again: {told}")  # noqa: T201 - no test run, so a person's command
        return
    with Notes.file.open("a") as notes:
        notes.write(f"{part}\t{told}\n")


def told(file: Path) -> list[str]:
    """What the last lines of a run say: each part, how often, and why the last time."""
    if not file.exists():
        return []
    rows = [line.split("\t", 1) for line in file.read_text().splitlines()]
    why = dict(rows)
    counts = Counter(part for part, _ in rows)
    return [f"begun again: {part}, {times} x, {why[part]}" for part, times in counts.items()]


def brought_up(part: str, begin: Callable[[], T]) -> T:
    """Call `begin`, and at most twice again where it fails: a slow machine, a crash.

    Args:
        part: its name for people; never one of ours, whose failures are what is looked for.
        begin: starts it from nothing and returns when it serves; leaves nothing behind when it
            raises.

    Raises:
        ServerError: the last time it failed as well.
    """
    for _ in range(AT_MOST):
        try:
            return begin()
        except ServerError as failed:
            note(part, str(failed))
    return begin()
