"""Help that teaches: the first page fits a screen, and every command shows how it is called."""

import re
import shlex
from collections.abc import Iterator
from typing import TypeAlias

import pytest
import typer
from typer.core import TyperCommand, TyperGroup
from typer.testing import CliRunner

from operator_cli.__main__ import app
from producer_gateway.operations import spool
from reconciler.__main__ import app as reconciler

LINES, COLUMNS = 24, 80
Shown: TypeAlias = TyperCommand | TyperGroup
ROOT = typer.main.get_command(app)
SPOOL = typer.main.get_command(spool)


def walk(command: object, *path: str) -> Iterator[tuple[tuple[str, ...], Shown]]:
    """Every command below `command`, with its path, and itself."""
    if path and isinstance(command, TyperCommand | TyperGroup):
        yield path, command
    if isinstance(command, TyperGroup):
        for name, below in command.commands.items():
            yield from walk(below, *path, name)


RECONCILER = typer.main.get_command(reconciler)
AUDIT = [(path, command) for path, command in walk(RECONCILER) if path == ("audit",)]
COMMANDS = dict([*walk(ROOT), *walk(SPOOL, "spool"), *AUDIT])
LEAVES = [path for path, command in COMMANDS.items() if not isinstance(command, TyperGroup)]
"""The commands that do something, and no group of them."""


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_says_what_it_has_to_say_for_programs_too(path: tuple[str, ...]) -> None:
    options = {option for parameter in COMMANDS[path].params for option in parameter.opts}
    assert {"--json", "--csv"} <= options


NUMBERED = [
    (path, option)
    for path in LEAVES
    for parameter in COMMANDS[path].params
    for option in ("--limit", "--before")
    # Of `credit limit` it is an amount.
    if option in parameter.opts and path != ("credit", "limit")
]


@pytest.mark.parametrize(("path", "option"), NUMBERED)
def test_a_number_that_no_table_has_is_wrong_usage(path: tuple[str, ...], option: str) -> None:
    with pytest.raises(typer.BadParameter, match="less than or equal to"):
        COMMANDS[path].make_context("billing", [option, str(2**63)])


def test_the_first_page_fits_a_screen_and_names_every_command() -> None:
    said = CliRunner().invoke(app, ["--help"], terminal_width=COLUMNS).output
    lines = said.splitlines()
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= COLUMNS
    assert isinstance(ROOT, TyperGroup)
    for name, command in ROOT.commands.items():
        shown = rf"^  {name} .*{re.escape(command.get_short_help_str(100))}"
        assert re.search(shown, said, re.MULTILINE)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_an_example_that_the_command_line_takes(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    name = " ".join(("billing", *path))
    examples = re.findall(rf"^  ({name}\b.*)$", command.epilog or "", re.MULTILINE)
    assert examples, f"{name} --help shows no example"
    assert "Examples:" in (command.epilog or "")
    for example in examples:
        words = tuple(shlex.split(example.partition(" > ")[0])[1:])
        taken = next(words[:n] for n in range(len(words), 0, -1) if words[:n] in COMMANDS)
        # Parsed, not run: a wrong option or a missing argument fails here.
        COMMANDS[taken].make_context(name, list(words[len(taken) :]))
