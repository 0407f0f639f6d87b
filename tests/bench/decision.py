"""What a decision costs, from source and compiled, in turn: `python -m tests.bench.decision`.

A process of each build decides the same callbacks. Needs no broker and no database.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from charging.decision import decide
from schemas import headers
from tests.bench.payloads import SIZES, Payloads
from tests.inputs.callbacks import policy, record
from tests.processes.compiled import ROOT, compiled, where

CALLS: Final = 2_000
PASSES: Final = 20
HEADERS: Final = [
    (headers.SOURCE, b"litellm"),
    (headers.RECEIVED_AT, b"2026-11-22T10:00:00.250Z"),
    (headers.CONTENT_TYPE, b"application/json"),
    (headers.GATEWAY_VERSION, b"1"),
    (headers.CALL_KEY, b"call-1|chatcmpl-1"),
]


def decided(size: int) -> float:
    """The median CPU time of a decision, in µs, for callbacks of that many bytes."""
    payloads, rules = Payloads("decision", size), policy()
    records = [record(payloads.element(number), headers=HEADERS) for number in range(CALLS)]
    passes = list[float]()
    for _ in range(PASSES):
        begun = time.process_time_ns()
        for one in records:
            decide(one, rules)
        passes.append((time.process_time_ns() - begun) / CALLS / 1_000)
    return statistics.median(passes)


def _of(place: Path, size: int) -> float:
    command = [sys.executable, "-m", "tests.bench.decision", "--here", str(size)]
    told = {**os.environ, **where(place)}
    said = subprocess.run(command, env=told, cwd="/", check=True, capture_output=True, text=True)
    return float(said.stdout)


def main(
    rounds: Annotated[int, typer.Option(min=1, help="How often each build is asked.")] = 5,
    here: Annotated[int, typer.Option(hidden=True, help="Bytes; the figure of this build.")] = 0,
) -> None:
    """Print the medians of both builds, in µs of CPU a decision, and of their ratios."""
    if here:
        print(decided(here))
        return
    places = {"source": ROOT, "compiled": compiled()}
    for name, size in SIZES.items():
        found = [
            {build: _of(place, size) for build, place in places.items()} for _ in range(rounds)
        ]
        ratio = statistics.median(one["compiled"] / one["source"] for one in found)
        said = [
            f"{build} {statistics.median(one[build] for one in found):.1f} µs" for build in places
        ]
        print(f"{name}: {', '.join(said)}; ratio {ratio:.2f}")


if __name__ == "__main__":
    typer.run(main)
