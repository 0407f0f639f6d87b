"""Reading bills: what kind a file is, from what is in it, and its items.

A file is JSON (an answer of an API, a list of rows), JSON by lines (several answers, rows), or CSV;
packed by gzip or not. CSV is read line by line, JSON as a whole.
"""

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

import msgspec

from reconciler.bills import anthropic, aws, google, openai
from reconciler.bills.items import BillError, Format, Item, LineError, Row, column_of
from runtime.rows import printable

FORMATS: Final = (
    openai.COSTS, anthropic.COST_REPORT, anthropic.CONSOLE, aws.REPORT, google.EXPORT,
)  # fmt: skip
WITHOUT_COSTS: Final[Mapping[str, str]] = {
    "num_model_requests": "it is OpenAI's usage, which has tokens and no amounts: export the "
    "costs, grouped by line_item",
    "uncached_input_tokens": "it is Anthropic's usage report, which has tokens and no amounts: "
    "fetch the cost report, grouped by description",
    "usage_input_tokens_no_cache": "it is Anthropic's usage, which has tokens and no amounts: "
    "export the costs",
}
_MAGIC: Final = b"\x1f\x8b"
_MOST_JSON: Final = 256 * 1024 * 1024
_MOST_CELL: Final = 1024 * 1024
"""Characters; the map `product` of AWS is the longest cell that bills have."""
_HEAD: Final = 1024 * 1024
"""Characters of the line of names at most: AWS has a column for each tag."""

Placed: TypeAlias = tuple[str, Row | LineError]
"""A row and where it stands, or why there is none."""


class Read(msgspec.Struct):
    """What was read: the kind of export, how many lines, and where and why one was not read."""

    format: Format
    lines: int
    unread: list[tuple[str, str]]


def read_all(paths: Sequence[Path], add: Callable[[Item], None]) -> Read:
    """Hand each item of the files to `add`; all of them are of one kind. Raises `BillError`."""
    found: Format | None = None
    lines = 0
    unread: list[tuple[str, str]] = []
    for path in paths:
        before = f"{path.name}, " if len(paths) > 1 else ""
        for where, row in _placed(path):
            lines += 1
            try:
                if isinstance(row, LineError):
                    raise row
                found = found or _format_of(path, row)
                items = _items(found, row)
            except LineError as error:
                unread.append((f"{before}{where}", str(error)))
                continue
            for item in items:
                add(item)
    if found is None:
        raise BillError(f"{paths[0]}: it holds no line with a charge{_first(unread)}")
    return Read(found, lines, unread)


def _first(unread: Sequence[tuple[str, str]]) -> str:
    return f"; {unread[0][0]}: {unread[0][1]}" if unread else ""


def _items(kind: Format, row: Row) -> list[Item]:
    """Return all items of a line, or none of them. Raises `LineError`."""
    if lacking := sorted(kind.columns - row.keys()):
        raise LineError(f"it has no {', '.join(lacking)}, as the other lines have")
    return list(kind.items(row))


def _placed(path: Path) -> Iterator[Placed]:
    try:
        with _opened(path) as file:
            yield from _rows(file)
    except BillError as error:
        raise BillError(f"{path}: {error}") from None
    except UnicodeDecodeError:
        raise BillError(f"{path}: it is no text in UTF-8") from None
    except (EOFError, zlib.error, OSError) as error:
        raise BillError(f"{path}: it cannot be read: {error}") from None


def _format_of(path: Path, row: Row) -> Format:
    for one in FORMATS:
        if one.columns <= row.keys():
            return one
    for column, advice in WITHOUT_COSTS.items():
        if column in row:
            raise BillError(f"{path}: {advice}")
    named = printable(", ".join(sorted(row)[:20])) or "nothing"
    raise BillError(
        f"{path}: it is no bill that is known: it has {named}. docs/finance.md says which exports "
        "are read"
    )


def _opened(path: Path) -> IO[str]:
    with path.open("rb") as file:
        packed = file.read(len(_MAGIC)) == _MAGIC
    if packed:
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open("r", encoding="utf-8-sig", newline="")


def _rows(file: IO[str]) -> Iterator[Placed]:
    head = file.readline(_HEAD)
    while head and not head.strip():
        head = file.readline(_HEAD)
    if head.lstrip().startswith(("{", "[")):
        return _of_json(head, file)
    return _of_csv(head, file)


def _of_csv(head: str, file: IO[str]) -> Iterator[Placed]:
    """Yield the rows below a line of names; commas, tabs or semicolons stand between cells.

    Strictly: a quotation mark that nobody closes would take all lines behind it for one cell.
    """
    csv.field_size_limit(_MOST_CELL)
    names: list[str] = []
    reader = csv.reader(chain([head], file), delimiter=max(",\t;", key=head.count), strict=True)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise BillError(f"line {reader.line_num} is no CSV: {error}") from None
        where = f"line {reader.line_num}"
        if not names:
            names = [column_of(cell) for cell in cells]
            continue
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(names):
            yield where, LineError(f"it has {len(cells)} cells, and there are {len(names)} names")
        else:
            yield where, dict(zip(names, cells, strict=True))


def _of_json(head: str, file: IO[str]) -> Iterator[Placed]:
    text = head + file.read(_MOST_JSON)
    if len(text) >= _MOST_JSON:
        raise BillError("it is JSON of more than 256 MiB: export fewer days at a time")
    more = False
    for where, found in _documents(text):
        if isinstance(found, LineError):
            yield where, found
            continue
        for number, one in enumerate(found if isinstance(found, list) else [found], 1):
            at = f"{where}item {number}"
            if isinstance(one, dict) and isinstance(one.get("data"), list):
                more = one.get("has_more") is True
                yield from _of_page(at, one["data"])
            else:
                yield at, _flat(one)
    if more:
        raise BillError(
            "the answer says has_more: fetch the pages behind next_page as well, and put them "
            "into the file one after another, each on a line"
        )


def _documents(text: str) -> Iterator[tuple[str, Any]]:
    """Yield the file as one value, or each of its lines as one."""
    try:
        yield "", _parsed(text)
    except (ValueError, RecursionError, ArithmeticError) as whole:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        if len(lines) <= 1 or not _is_value(lines[0][1]):
            raise BillError(f"it begins like JSON and is none: {whole}") from None
        for number, line in lines:
            try:
                yield f"line {number}, ", _parsed(line)
            except (ValueError, RecursionError, ArithmeticError) as error:
                yield f"line {number}", LineError(f"it is no JSON: {error}")


def _is_value(text: str) -> bool:
    try:
        _parsed(text)
    except (ValueError, RecursionError, ArithmeticError):
        return False
    return True


def _parsed(text: str) -> Any:  # noqa: ANN401 - JSON
    # Amounts stay as they are written: never through a float.
    return json.loads(text, parse_float=Decimal, parse_constant=_refused)


def _refused(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _of_page(where: str, buckets: Iterable[Any]) -> Iterator[Placed]:
    """Yield the results of an answer of OpenAI or Anthropic, each with the times of its bucket."""
    for number, bucket in enumerate(buckets, 1):
        at = f"{where}, bucket {number}"
        results = bucket.get("results") if isinstance(bucket, dict) else None
        if not isinstance(results, list):
            yield at, LineError("it has no list of results")
            continue
        times = {name: value for name, value in bucket.items() if name != "results"}
        for place, result in enumerate(results, 1):
            row = {**times, **result} if isinstance(result, dict) else result
            yield f"{at}, result {place}", _flat(row)


def _flat(row: object) -> Row | LineError:
    """Return an object whose parts that are objects stand beside it: `amount.value`."""
    if not isinstance(row, dict):
        return LineError("it is no object")
    found = dict[str, Any]()
    for name, value in row.items():
        if isinstance(value, dict):
            found |= {column_of(f"{name}_{part}"): one for part, one in value.items()}
        else:
            found[column_of(name)] = value
    return found
