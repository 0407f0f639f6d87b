"""Compile the decisions: `python deploy/compile.py DIRECTORY`, at the root of the project.

Writes each of `MODULES` as an extension module for the interpreter that runs this. Python imports
it in place of the source that lies beside it in DIRECTORY. Needs `mypy[mypyc]`, what the
modules import, and a C compiler. Decision record 0034 says what this is for.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

MODULES: Final = (
    "charging/account.py",
    "charging/background.py",
    "charging/call_shape.py",
    "charging/caller.py",
    "charging/charge.py",
    "charging/decision.py",
    "charging/marks.py",
    "charging/money.py",
    "charging/origin.py",
    "charging/signature.py",
    "charging/spend.py",
    "charging/times.py",
    "schemas/attribution.py",
    "schemas/cloud_event.py",
    "schemas/identity.py",
    "schemas/reader/fast_path.py",
    "schemas/reader/json_text.py",
    "schemas/text.py",
)
"""What every call passes through.

None holds a class with a foreign base but `NamedTuple` and `StrEnum`: mypyc drops the options of a
`msgspec.Struct`, and a subclass of `Decimal` ends the process.
"""


def compile_into(directory: Path) -> None:
    """Write the compiled modules into a directory, under the names of their packages.

    Raises `SystemExit` where a module cannot be compiled; what is wrong is printed.
    """
    from mypyc.build import mypycify  # noqa: PLC0415 - takes a second, and `--help` none
    from setuptools import setup  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as scratch:
        extensions: list[Any] = mypycify(
            ["--strict", "--cache-dir", os.devnull, *MODULES],
            opt_level="2",
            debug_level="0",
            target_dir=scratch,
        )
        setup(
            name="billing-stream-compiled",
            packages=[],
            ext_modules=extensions,
            script_args=[
                *("--quiet", "build_ext"),
                *("--build-lib", str(directory), "--build-temp", scratch),
            ],
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "directory", type=Path, help="takes the modules, for instance site-packages"
    )
    compile_into(parser.parse_args(sys.argv[1:]).directory)
