"""The compiled modules decide what their source decides, of whatever is sent, to the byte."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.inputs.mutations import originals
from tests.processes.compiled import ROOT, compiled, missing_for_compiling, modules, where
from tests.waiting import NET_SECONDS

pytestmark = pytest.mark.slow

MUTATIONS = int(os.environ.get("MUTATIONS", "10000"))
"""`make fuzz` takes 100,000."""
SEED = int(os.environ.get("MUTATIONS_SEED", "1"))


@pytest.fixture(scope="module")
def rooms() -> Path:
    """The rooms as the image has them."""
    if missing := missing_for_compiling():
        pytest.skip(missing)
    return compiled()


def started(place: Path, *arguments: str) -> subprocess.Popen[str]:
    """A process that prints what it decides."""
    # A set of names is printed in the order of their hashes.
    told = {**os.environ, **where(place), "PYTHONHASHSEED": "0"}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.inputs.decisions", *arguments],
        cwd="/",
        env=told,
        stdout=subprocess.PIPE,
        text=True,
    )


def lines(process: subprocess.Popen[str]) -> list[str]:
    """What it printed, when it has ended well."""
    said, _ = process.communicate(timeout=NET_SECONDS)
    assert process.returncode == 0
    return said.splitlines()


def ran(place: Path, program: str, *arguments: str) -> str:
    """What a Python program prints that takes the rooms from there, when it has ended well."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env={**os.environ, **where(place)},
        capture_output=True,
        text=True,
        check=False,
        timeout=NET_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_source_and_compiled_modules_decide_the_same_to_the_byte(rooms: Path) -> None:
    known = len(originals())
    assert known < MUTATIONS
    asked = (str(SEED), str(MUTATIONS))
    processes = [started(place, *asked) for place in (ROOT, rooms)]
    (source, *expected), (build, *found) = map(lines, processes)
    assert all(path.endswith(".py") for path in source.split())
    assert all(path.startswith(str(rooms)) for path in build.split())
    assert all(path.endswith(".so") for path in build.split())
    assert len(expected) == MUTATIONS
    assert len(set(expected)) > MUTATIONS / 2
    differing = [at for at, one in enumerate(expected) if found[at : at + 1] != [one]]
    assert not differing, (
        f"PYTHONHASHSEED=0 python -m tests.inputs.decisions {' '.join(asked)} {differing[0]}"
    )


def test_every_module_is_compiled_beside_its_source(rooms: Path) -> None:
    listed = modules()
    beside = {str(path.relative_to(rooms)) for path in rooms.rglob("*.so") if path.parent != rooms}
    assert {f"{name.partition('.')[0]}.py" for name in beside} == set(listed)
    assert all((rooms / module).read_bytes() == (ROOT / module).read_bytes() for module in listed)


def test_the_consumer_knows_which_build_it_is(rooms: Path) -> None:
    asks = "from consumer.service import compiled; print(compiled())"
    assert ran(ROOT, asks).strip() == "False"
    assert ran(rooms, asks).strip() == "True"


def test_no_compiled_class_has_a_base_that_mypyc_cannot_take() -> None:
    """It drops the options of a struct, and a subclass of `Decimal` ends the process."""
    bases = {
        f"{module} {node.name}({ast.unparse(base)})"
        for module in modules()
        for node in ast.walk(ast.parse((ROOT / module).read_text()))
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if ast.unparse(base) not in {"NamedTuple", "StrEnum"}
    }
    assert not bases


def test_nothing_that_is_compiled_is_compared_by_its_identity() -> None:
    """A float that came through a compiled function is another object."""
    compared = {
        f"{module}:{node.lineno} {ast.unparse(node)}"
        for module in modules()
        for node in ast.walk(ast.parse((ROOT / module).read_text()))
        if isinstance(node, ast.Compare)
        for operator, right in zip(node.ops, node.comparators, strict=True)
        if isinstance(operator, ast.Is | ast.IsNot)
        if ast.unparse(right) not in {"None", "True", "Decimal", "int"}
        and not re.fullmatch(r"[A-Z]\w+\.[A-Z_]+", ast.unparse(right))
    }
    assert not compared


def test_the_tests_of_the_decisions_pass_on_the_compiled_modules(rooms: Path) -> None:
    """What they expect, they expect of both builds."""
    program = (
        "import sys, pytest, charging.decision; "
        "assert charging.decision.__file__.endswith('.so'); "
        "sys.exit(pytest.main(sys.argv[1:]))"
    )
    tests = ("charge", "decision", "background", "caller", "money", "signature", "call_identity")
    files = [str(ROOT / "tests" / "unit" / f"test_{name}.py") for name in tests]
    quiet = ("-q", "-n", "0", "-p", "no:cacheprovider", f"--rootdir={ROOT}")
    ran(rooms, program, *quiet, *files)
