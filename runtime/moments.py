"""Moments that people write: one rule for every command.

A moment is in UTC unless a zone is written with it, whatever the machine's own zone is; a day alone
is its midnight.
"""

from datetime import UTC, datetime
from typing import Final

RULE: Final = "UTC unless a zone is written"
_FORMS: Final = "2026-11-01, 2026-11-01T09:30 or 2026-11-01T09:30+01:00"


def moment_of(text: str) -> datetime:
    """Return the moment that `text` means. Raises `ValueError` where it is none."""
    try:
        read = datetime.fromisoformat(text.strip())
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no day and no time: write {_FORMS}; {RULE}") from None
