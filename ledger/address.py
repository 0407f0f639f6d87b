"""The database's address: read before it is used, so that no message shows a part of a password.

libpq's own messages repeat what it could not read, from the middle of a password that was pasted
into a URL as it is. `fault` names what is wrong without a letter of the URL.
"""

import re
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from psycopg import Connection, ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from runtime.environment import is_text

SCHEMES: Final = ("postgresql://", "postgres://")
_HALF_ESCAPE: Final = re.compile("%(?![0-9A-Fa-f]{2})")
_HOST: Final = r"(?:[^:,\[\]]*|\[[^\]]*\])(?::\d*)?"
_HOSTS: Final = re.compile(f"{_HOST}(?:,{_HOST})*")
_ESCAPE: Final = "in a password, write % as %25, @ as %40, / as %2F and : as %3A"
_SILENCE: Final = {
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""A server whose machine or network is gone says nothing for ever; these end the connection."""


def fault(url: str) -> str | None:
    """Return what is wrong with a URL; None where nothing about it can be taken in two ways."""
    if not url.startswith(SCHEMES):
        return "must be a PostgreSQL URL such as postgresql://user@host:5432/billing"
    rest = url.partition("://")[2]
    place, slash, path = rest.partition("/")
    host = place.partition("?")[0]
    doubts = {
        "holds what is no text: a NUL, a line break or bytes that are no UTF-8": (
            not is_text(url) or any(letter < " " for letter in url)
        ),
        f"holds a % that begins no escape: {_ESCAPE}": not _is_escaped(url),
        f"holds an @ too many, or a / before its @: {_ESCAPE}": (
            place.count("@") > 1 or (slash and "@" in path.partition("?")[0])
        ),
        f"has a port that is no number, or a password without an @: {_ESCAPE}": (
            "@" not in place and not _HOSTS.fullmatch(host)
        ),
        "has a parameter that is no name=value: write & and = in values as %26 and %3D": any(
            part.count("=") != 1 for part in _parameters(rest)
        ),
    }
    return next((doubt for doubt, there in doubts.items() if there), None)


def _parameters(rest: str) -> list[str]:
    # As libpq does: a question mark before the @ belongs to the password.
    behind = rest.partition("@")[2] if "@" in rest.partition("/")[0] else rest
    _, question, parameters = behind.partition("?")
    return parameters.split("&") if question and parameters else []


def _is_escaped(url: str) -> bool:
    try:
        meant = unquote_to_bytes(url.encode("utf-8", "replace")).decode()
    except UnicodeDecodeError:
        return False
    return not _HALF_ESCAPE.search(url) and "\0" not in meant


def connect(url: str, application: str, **settings: Any) -> Connection[tuple[Any, ...]]:  # noqa: ANN401 - psycopg's own
    """Connect to `url`, with nothing that a pooler between here and PostgreSQL could mix up.

    No statement is prepared: another client of the pooler would meet its name. What the URL says of
    keepalives stands. Raises `psycopg.Error`; its text holds nothing of the URL's secrets.
    """
    try:
        found = conninfo_to_dict(url)
    except (ProgrammingError, ValueError):
        raise ProgrammingError(
            "DATABASE_URL cannot be read: a parameter that libpq does not "
            "know, or a value that it does not take"
        ) from None
    parameters: dict[str, Any] = {"connect_timeout": "5", **_SILENCE, **found, **settings}
    parameters["application_name"] = application
    return Connection.connect("", prepare_threshold=None, **parameters)
