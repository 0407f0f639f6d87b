"""Text from strangers, made fit for Kafka keys, PostgreSQL columns and indexes."""

import hashlib
import re
from typing import Final

REPLACEMENT: Final = "\ufffd"
MAX_TEXT_BYTES: Final = 1_024
"""Longest text kept whole, in UTF-8 bytes: a PostgreSQL B-tree entry ends at 2,704 bytes."""
SURELY_WHOLE: Final = MAX_TEXT_BYTES // 4
"""Characters of a text that fits whatever they are: UTF-8 takes at most four bytes for one."""

_PREFIX_CHARACTERS: Final = 200
_DIGEST: Final = re.compile(r"~sha256-[0-9a-f]{64}")


def storable(text: str) -> str:
    """Return `text` without what PostgreSQL and UTF-8 refuse (NUL, lone surrogates).

    Each such character becomes U+FFFD. Text that is already storable comes back as it is.
    """
    if "\x00" in text:
        text = text.replace("\x00", REPLACEMENT)
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def bounded(text: str) -> str:
    """Return `text`, or its beginning and its SHA-256 where it is over `MAX_TEXT_BYTES`.

    Equal texts stay equal and different ones stay different, so a run of calls with an
    overlong run id is still one run, and an overlong id is still an idempotency key. A text that
    looks like the outcome is treated as overlong: nobody can choose the short form of another.
    """
    if len(text) <= SURELY_WHOLE:
        return text
    encoded = text.encode("utf-8", "surrogatepass")
    if len(encoded) <= MAX_TEXT_BYTES and not _DIGEST.fullmatch(text, _PREFIX_CHARACTERS):
        return text
    return f"{text[:_PREFIX_CHARACTERS]}~sha256-{hashlib.sha256(encoded).hexdigest()}"


def identifier(text: str) -> str:
    """Return `text` storable and bounded: the form of every id, run and account in the tables."""
    return bounded(storable(text))
