"""What the proxy's answers mean: a page of rows, or why there is none. Pure.

Measured on LiteLLM 1.109.1 and 1.110.2, read in the source of 1.80.7 to 1.106.12.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

import msgspec

_NO_DATABASE: Final = (
    "Prisma Client is not initialized",  # with status 401: the key may be good
    "Database not connected",
    "No connected db",
)
_MOST_SHOWN: Final = 300
_SECRET: Final = re.compile(r"sk-[^\s\"',}\]]+")
_NOT_FOUND: Final = frozenset({404, 405})
_REFUSED: Final = frozenset({401, 403})
_PASSING: Final = frozenset({408, 425, 429})
_UNPROCESSABLE: Final = 422
_OK: Final = 200
_SERVER_ERROR: Final = 500
_LEAST: Final = re.compile(r"less than or equal to (\d+)")


class SpendLogError(Exception):
    """The spend log cannot be read; the text says why and what to do, and shows no secret."""


class NoDatabaseError(SpendLogError):
    """The proxy keeps no spend log, because it has no database."""


class KeyRefusedError(SpendLogError):
    """The proxy refuses the key."""


class RouteMissingError(SpendLogError):
    """The proxy has no such route."""


class UnknownShapeError(SpendLogError):
    """The proxy answers something that is no spend log."""


class TruncatedError(SpendLogError):
    """The proxy leaves out rows and has no way to tell them."""


class UnavailableError(SpendLogError):
    """The proxy could not be reached, or answered no question, in all tries."""


class TooManyRowsError(SpendLogError):
    """The proxy gives fewer rows at a time than were asked for; `most` is how many, if it says."""

    def __init__(self, most: int | None) -> None:
        super().__init__("the proxy gives fewer rows at a time than were asked for")
        self.most = most


class Meaning(StrEnum):
    """What an answer is good for."""

    GOOD = "good"
    PASSING = "passing"
    """A fault that may pass: ask again."""


def meaning(status: int, body: bytes) -> Meaning:
    """Say what an answer is good for. Raises a `SpendLogError` where asking again is no use."""
    if status == _OK:
        return Meaning.GOOD
    text = _shown(body)
    if any(phrase in text for phrase in _NO_DATABASE):
        raise NoDatabaseError(
            f"the proxy has no database and keeps no spend log (status {status}): give it "
            "DATABASE_URL, or do without the reconciler. The key may be good"
        )
    if status in _REFUSED:
        raise KeyRefusedError(
            f"the proxy refuses the key (status {status}): LITELLM_API_KEY has to be its master "
            f"key or the key of an administrator. It says: {text}"
        )
    if status in _NOT_FOUND:
        raise RouteMissingError(
            f"there is no such route (status {status}): is LITELLM_URL the proxy's address? It "
            f"says: {text}"
        )
    if status == _UNPROCESSABLE and "page_size" in text:
        found = _LEAST.search(text)
        raise TooManyRowsError(int(found[1]) if found else None)
    if status in _PASSING or status >= _SERVER_ERROR:
        return Meaning.PASSING
    raise UnknownShapeError(f"the proxy answers with status {status}: {text}")


def _shown(body: bytes) -> str:
    # LiteLLM repeats parts of a key that it does not know.
    text = body[: 4 * _MOST_SHOWN].decode("utf-8", "replace")
    return _SECRET.sub("sk-…", text)[:_MOST_SHOWN]


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds that `Retry-After` asks for; None where it asks for none."""
    said = headers.get("retry-after", "").strip()
    if said.isascii() and said.isdecimal():
        return float(said[:9])
    try:
        moment = parsedate_to_datetime(said)
    except ValueError:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return max(0.0, (moment - now).total_seconds())


class _Paged(msgspec.Struct):
    """The answer of `/spend/logs/v2`. `total` stops at 10,000, so it is not believed."""

    data: list[msgspec.Raw]
    page: int


_paged: Final = msgspec.json.Decoder(_Paged)
_listed: Final = msgspec.json.Decoder(list[msgspec.Raw])
_first: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class HalfAnswerError(ValueError):
    """An answer of status 200 is no JSON: it was cut off, or somebody else has answered."""


def page_of(body: bytes, page: int) -> list[msgspec.Raw]:
    """Return the rows of page `page` of `/spend/logs/v2`.

    Raises `HalfAnswerError` for what is no JSON, `UnknownShapeError` for JSON that is no such page.
    """
    try:
        found = _paged.decode(body)
    except msgspec.ValidationError as error:
        raise UnknownShapeError(f"a page of /spend/logs/v2 has another shape: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HalfAnswerError(str(error)) from error
    if found.page != page:
        # It would never come to an end.
        raise UnknownShapeError(f"asked for page {page}, the proxy answers page {found.page}")
    return found.data


def rows_of(body: bytes) -> list[msgspec.Raw]:
    """Return the rows of an answer of `/spend/logs`. Raises as `page_of` does.

    Sums by day, which the route gives where it does not know `summarize`, are no rows.
    """
    try:
        rows = _listed.decode(body)
        summed = bool(rows) and {"users", "models"} <= _first.decode(rows[0]).keys()
    except msgspec.ValidationError as error:
        raise UnknownShapeError(f"an answer of /spend/logs has another shape: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HalfAnswerError(str(error)) from error
    if summed:
        raise UnknownShapeError("/spend/logs answers sums by day and no rows: update LiteLLM")
    return rows
