"""A word with a meaning of its own is used for nothing else in the names of the code."""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.compiled import ROOMS, ROOT

GIVEN_UP = {
    *("house", "span", "spans", "standing", "fresh", "awaited", "admit", "admitted", "admission"),
    *("element", "elements", "piece", "pieces", "wire", "raw", "settler"),
}
"""Words for which there is another one, or which are kept for what is still to come."""
ADMISSION = {"admit", "admitted", "admission"}
"""Of a call, for which there are credits."""
ADMITS = re.compile(
    r"(charging|ledger|tests/unit|tests/integration|tests/doubles)/(test_)?(holds|hold_\w+|admission)\.py"
    r"|spend_guard/\w+\.py|tests/unit/test_placing\.py"
)
"""The files in which one is admitted."""
TRACES = re.compile(
    r"(runtime|consumer|producer_gateway|tests/unit|tests/integration)/(test_)?tracing\.py"
    r"|tests/doubles/trace_collector\.py"
)
"""The files in which a span is OpenTelemetry's."""
SPANS = {"span", "spans"}
SETTLES = re.compile(r"(un)?settl(e|es|ed|ing|ement)")
OF_DEFERRALS = ("charging", "ledger", "operator_cli", "schemas")
"""The rooms in which a person settles a deferral; nothing else is ever settled."""
IN_TESTS_TOO = {
    *("house", "span", "spans", "awaited", "admit", "admitted", "admission", "settler", "settling"),
}
"""The tests have a few meanings of their own for the others: bytes on a wire, a raw record."""
NOT_OURS = {"Raw", "raw_headers"}
"""Names of libraries: msgspec's, and Starlette's."""


def names(path: Path) -> Iterator[str]:
    """The names in a file of Python, its own name first."""
    yield path.stem
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline)
    yield from (token.string for token in tokens if token.type == tokenize.NAME)


def given_up(path: Path) -> set[str]:
    """The words that name nothing in a file."""
    name = str(path.relative_to(ROOT))
    found = GIVEN_UP - ADMISSION if ADMITS.fullmatch(name) else GIVEN_UP
    return found - SPANS if TRACES.fullmatch(name) else found


def words(name: str) -> list[str]:
    """The words of a name."""
    return re.findall(r"[a-z]+", re.sub(r"([A-Z])", r"_\1", name).lower())


@pytest.mark.parametrize("room", ROOMS)
def test_a_taken_word_names_nothing_else(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        for name in set(names(path)) - NOT_OURS:
            used = set(words(name))
            assert not used & given_up(path), f"{path.relative_to(ROOT)}: {name}"
            settles = room not in OF_DEFERRALS and any(map(SETTLES.fullmatch, used))
            assert not settles, f"{path.relative_to(ROOT)}: {name}"


def test_a_word_that_was_given_up_names_nothing_in_the_tests() -> None:
    for path in (ROOT / "tests").rglob("*.py"):
        for name in set(names(path)):
            taken = set(words(name)) & IN_TESTS_TOO & given_up(path)
            assert not taken, f"{path.relative_to(ROOT)}: {name}"


def test_no_alert_uses_the_word_for_deferrals() -> None:
    alerts = re.findall(r"alert: (\w+)", (ROOT / "deploy/prometheus/alerts.yml").read_text())
    assert len(alerts) > 30
    assert not [name for name in alerts if any(map(SETTLES.fullmatch, words(name)))]
