"""The rooms with their compiled modules beside the source, as the image has them."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.waiting import NET_SECONDS

ROOT: Final = Path(__file__).parents[2]
PROGRAM: Final = ROOT / "deploy" / "compile.py"
ROOMS: Final = (
    *("schemas", "runtime", "charging", "ledger", "producer_gateway", "consumer"),
    *("operator_cli", "reconciler", "spend_guard"),
)
_KEPT: Final = ROOT / ".cache" / "compiled"
_KEPT_SECONDS: Final = 86_400
"""No run takes as long: nobody uses what is older and of other source."""


class CompilerError(RuntimeError):
    """Nothing can be compiled here; the text says what is missing."""


def missing_for_compiling() -> str | None:
    """What this machine lacks to compile a module for this interpreter; None where nothing."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return f"there is no C compiler ({compiler})"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Python's C headers are not here (Debian has them in python3-dev)"
    return None


def modules() -> tuple[str, ...]:
    """The files that are compiled, by their paths in the project."""
    spec = importlib.util.spec_from_file_location("compile", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    return tuple(program.MODULES)


def compiled() -> Path:
    """A directory with all rooms, some of their modules compiled by this interpreter's compiler.

    It is kept in `.cache/compiled` for the same source; otherwise it takes half a minute.

    Raises:
        CompilerError: there is no C compiler, or no header of Python.
        CalledProcessError: a module is refused; the output says which, and why.
    """
    if missing := missing_for_compiling():
        raise CompilerError(f"{missing}: install it, or run the source alone")
    made = _KEPT / _digest()
    if not made.exists():
        _KEPT.mkdir(parents=True, exist_ok=True)
        for former in _KEPT.iterdir():
            if former.stat().st_mtime < time.time() - _KEPT_SECONDS:
                shutil.rmtree(former)
        with tempfile.TemporaryDirectory(dir=_KEPT) as scratch:
            place = Path(scratch, "rooms")
            for room in ROOMS:
                unwanted = shutil.ignore_patterns("__pycache__", "*.so")
                shutil.copytree(ROOT / room, place / room, ignore=unwanted)
            subprocess.run(
                [sys.executable, PROGRAM, place], cwd=ROOT, check=True, timeout=NET_SECONDS
            )
            # Another process may have made the same at the same time.
            if not made.exists():
                place.rename(made)
    return made


def where(place: Path) -> dict[str, str]:
    """What a process is told so that it takes the rooms from there, whatever its directory is."""
    return {"PYTHONPATH": f"{place}{os.pathsep}{ROOT}", "PYTHONSAFEPATH": "1"}


def _digest() -> str:
    told = hashlib.sha256(f"{version('mypy')} {sysconfig.get_config_var('SOABI')}".encode())
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*")):
            if path.is_file() and path.suffix in {".py", ".sql", ".yaml", ".json"}:
                told.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    told.update(PROGRAM.read_bytes())
    return told.hexdigest()[:16]
