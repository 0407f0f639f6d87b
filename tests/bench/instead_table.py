"""The table of what each way does when something goes wrong."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from rich.table import Table

from tests.bench import instead, instead_gateways, report
from tests.bench.instead import HEADINGS, Seen
from tests.bench.others import CONSUMERS, OURS, fastapi_gateway
from tests.bench.services import Services

BEGIN: Final = "<!-- instead: written by `python -m tests.bench instead --write` -->"
END: Final = "<!-- end of instead -->"
_GATEWAYS: Final[Mapping[str, instead_gateways.Start]] = {
    "this gateway": Services.gateway,
    "gateway: FastAPI, orjson, confluent-kafka": fastapi_gateway,
}

WATCHED: Final[Mapping[str, Callable[[Services], Seen]]] = {
    **{
        other.name: partial(instead.watch, other=other)
        for other in (OURS, *CONSUMERS)
    },
    **{
        name: partial(instead_gateways.watch, name=name, start=start)
        for name, start in _GATEWAYS.items()
    },
}  # fmt: skip


def table(seen: Sequence[Seen]) -> Table:
    """For the terminal."""
    rows = [each.cells() for each in seen]
    return report.terminal_table(HEADINGS, "l" * len(HEADINGS), rows, "What each does")


def write(page: Path, seen: Sequence[Seen]) -> None:
    """Put the table between its markers on a page. Raises `ValueError` where there are none."""
    rows = [each.cells() for each in seen]
    text = report.markdown_table(HEADINGS, "l" * len(HEADINGS), rows)
    report.write_page(page, text, BEGIN, END)
