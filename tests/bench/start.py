"""What starting costs: CPU time of Python processes, each with statements of its own, interleaved.

`python -m tests.bench.start 'import psycopg' 'import psycopg, alembic.command'`; what begins with
`python` is a command: `python -m tests.bench.start 'python -m operator_cli --help'`.
"""

import resource
import shlex
import statistics
import subprocess
import sys
from typing import Annotated, Final

import typer

_MILLISECONDS: Final = 1_000


def started(line: str) -> float:
    """Run a line in a new interpreter; return the seconds of CPU that it took, children included.

    Raises `subprocess.CalledProcessError`, with what it said, where it does not end well.
    """
    arguments = shlex.split(line)[1:] if line.startswith("python ") else ["-c", line]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(
    lines: Annotated[
        list[str], typer.Argument(help="Statements, or `python -m MODULE ARGUMENTS`.")
    ],
    rounds: Annotated[int, typer.Option(min=1, help="How often each is started.")] = 15,
) -> None:
    """Print the median and the least CPU time of each line, in milliseconds."""
    taken = dict[str, list[float]]({line: [] for line in lines})
    for _ in range(rounds):
        for line, seconds in taken.items():
            seconds.append(started(line) * _MILLISECONDS)
    for line, figures in taken.items():
        print(f"{statistics.median(figures):6.0f} ms, least {min(figures):.0f}: {line}")


if __name__ == "__main__":
    typer.run(main)
