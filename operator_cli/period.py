"""Moments and periods that people write: one rule for every command (`runtime.moments`)."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import typer

from operator_cli.terminal import fail
from runtime.moments import RULE, moment_of
from runtime.rows import cell

_MONTH: Final = re.compile(r"(20|2[1-9]|[3-8][0-9])\d\d-(0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True)
class Period:
    """From `since` on and before `until`; None is no bound."""

    since: datetime | None = None
    until: datetime | None = None

    def __str__(self) -> str:
        """Return it as people read it, with its zone; "" for all of time."""
        said = [f"from {cell(self.since)}"] if self.since else []
        said += [f"before {cell(self.until)}"] if self.until else []
        return ", ".join(said)


ALWAYS: Final = Period()
"""All of time."""


def moment_option(says: str, *names: str) -> Any:  # noqa: ANN401 - what an annotation takes
    """Return an option that takes a moment; its help is what `says` says, and the rule."""
    return typer.Option(*names, parser=_parsed, metavar="DAY|TIME", help=f"{says}; {RULE}.")


def period_of(since: datetime | None, until: datetime | None) -> Period:
    """Return the period; ends the command with 2 where it has no length."""
    if since and until and until <= since:
        fail(f"the period ends at {cell(until)} and begins at {cell(since)}: nothing is in it", 2)
    return Period(since, until)


def month_of(text: str) -> tuple[datetime, datetime]:
    """Return the beginning and the end of a month of UTC; ends the command with 2 for none."""
    if not _MONTH.fullmatch(text):
        fail(f"{text!r} is no month: write 2026-10; it is a month of UTC", 2)
    year, month = int(text[:4]), int(text[5:])
    end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return datetime(year, month, 1, tzinfo=UTC), end


def _parsed(text: str) -> datetime:
    try:
        return moment_of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
