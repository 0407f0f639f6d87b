"""What real proxies answered about their spend logs, and the callbacks of the same calls."""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import msgspec

FOLDER: Final = Path(__file__).parents[2] / "schemas" / "examples" / "spend-logs"
VERSIONS: Final = ("1.109.1", "1.110.2")

_EACH: Final = ("answers.json", "callbacks.json", "rows-of-a-day.json", "rows.json")
FILES: Final = (
    *(f"{version}/{file}" for version in VERSIONS for file in _EACH),
    "1.109.1/rows-before-insert.json",
)


class Asked(NamedTuple):
    """A question to a proxy, and what it answered; rows in it are told by their ids."""

    path: str
    parameters: dict[str, str]
    status: int
    body: Any


def raw(version: str, file: str) -> list[bytes]:
    """The elements of a list, byte for byte."""
    text = (FOLDER / version / file).read_bytes()
    return [bytes(part) for part in msgspec.json.decode(text, type=list[msgspec.Raw])]


def rows(version: str) -> list[bytes]:
    """The rows of all calls, the newest first, as `/spend/logs/v2` showed them."""
    return raw(version, "rows.json")


def listed_rows(version: str) -> list[bytes]:
    """The same rows, as the deprecated `/spend/logs` showed them."""
    return raw(version, "rows-of-a-day.json")


def shown(version: str) -> list[dict[str, Any]]:
    """The rows of all calls as values."""
    return [json.loads(row) for row in rows(version)]


def callbacks(version: str) -> list[bytes]:
    """The callbacks of the same calls. One holds a bare `Infinity`, as it was sent."""
    lines = (FOLDER / version / "callbacks.json").read_bytes().splitlines()
    return [line.removesuffix(b",") for line in lines if line.startswith(b"{")]


def questions(version: str) -> list[Asked]:
    """Everything that the proxy was asked about its spend log."""
    found = []
    for one in json.loads((FOLDER / version / "answers.json").read_text()):
        parts = urlsplit(one["request"].removeprefix("GET "))
        found.append(Asked(parts.path, dict(parse_qsl(parts.query)), one["status"], one["body"]))
    return found


class Built(NamedTuple):
    """A row before its insert, and the ids that the callback of its call had.

    Of ids that are long, the callback's was recorded cut.
    """

    callback_id: str
    callback_call_id: str
    row: bytes


def built_rows() -> list[Built]:
    """Rows of kinds that the other captures do not have: batches, responses, messages."""
    found = raw("1.109.1", "rows-before-insert.json")
    return [Built(*msgspec.json.decode(one, type=_Built)) for one in found]


class _Built(msgspec.Struct):
    callback_id: str
    callback_litellm_call_id: str
    row: msgspec.Raw

    def __iter__(self) -> Any:  # noqa: ANN401 - of different types
        yield from (self.callback_id, self.callback_litellm_call_id, bytes(self.row))
