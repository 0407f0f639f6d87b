"""Run the chart on a real Kubernetes of one node, hurt it under load, and count.

Every call that was sent must have exactly one receipt of the right amount. Needs root, Go, Java
and a Debian machine whose network may be changed while this runs.
"""

import random
import signal
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, Final

import typer

from tests.bench.report import machine, machine_line, write_page
from tests.cluster.deployed import NAMESPACE, Deployed
from tests.cluster.load import Tally
from tests.cluster.steps import STEPS
from tests.kubernetes.backing import running_backing
from tests.kubernetes.node import running_node
from tests.kubernetes.release import Release

TAGS: Final = ("1", "2")
HEAD: Final = (
    "| step | calls | 202 at the first try | other answers | receipts | seconds | what was seen |",
    "| --- | --- | --- | --- | --- | --- | --- |",
)
PAGE: Final = Path(__file__).parents[2] / "docs" / "kubernetes.md"
BEGIN: Final = "<!-- runs: written by `make cluster` -->"
END: Final = "<!-- end of runs -->"
ALWAYS_AT_ONCE: Final = set(STEPS) - {"kills"}
"""Steps in which no first try may fail."""


def row(step: str, tally: Tally, written: int, seconds: float, seen: str) -> str:
    """A line of the table."""
    told = (step, len(tally.calls), tally.at_once, tally.others or "none", written)
    return f"| {' | '.join([*map(str, told), f'{seconds:.0f}', seen])} |"


def main(
    *,
    steps: Annotated[list[str] | None, typer.Argument(help=f"some of: {', '.join(STEPS)}")] = None,
    seed: Annotated[int, typer.Option(help="decides what happens by chance")] = 1,
    rate: Annotated[float, typer.Option(help="calls a second")] = 10.0,
    gateways: Annotated[int, typer.Option(help="gateways that run")] = 3,
    write: Annotated[bool, typer.Option("--write", help="into docs/kubernetes.md")] = False,
) -> None:
    """Install the chart on a real Kubernetes of one node, hurt it under load, and count receipts.

    Prints a table; exit code 1 when a call has no receipt, or a first try failed where none may.
    """
    wanted = ["install", *(one for one in steps or STEPS if one != "install")]
    if unknown := set(wanted) - set(STEPS):
        raise typer.BadParameter(f"unknown: {', '.join(sorted(unknown))}")
    # Asked to end, it ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    failed: list[str] = []
    table: list[str] = []
    head = f"Seed {seed}, {rate:g} calls a second; {machine_line(machine({}))[:-1]}"
    with ExitStack() as stack:
        # Sockets are in it: a longer path would not fit.
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="node-")))
        directory.chmod(0o755)
        print(head, flush=True)
        node = stack.enter_context(running_node(directory))
        for tag in TAGS:
            node.engine.give(node.engine.build(tag, "--build-arg", f"VERSION={tag}"))
        backing = stack.enter_context(running_backing(directory / "backing"))
        api = node.plane.api.within(NAMESPACE)
        release = stack.enter_context(closing(Release(node.plane, NAMESPACE)))
        chance = random.Random(seed)  # noqa: S311 - a seed makes a run, no secret
        on = Deployed(node, backing, api, release, chance, rate, TAGS, gateways)
        print("\n".join(HEAD), flush=True)
        for name in wanted:
            began = time.monotonic()
            tally, seen = STEPS[name](on)
            written = on.settled(tally)
            table.append(row(name, tally, written, time.monotonic() - began, seen))
            print(table[-1], flush=True)
            if name in ALWAYS_AT_ONCE and tally.at_once != len(tally.calls):
                failed.append(f"{name}: {tally.others}")
    if write:
        text = "\n".join(["", f"{head}:", "", *HEAD, *table, ""])
        write_page(PAGE, text, BEGIN, END)
    if failed:
        print(f"a first try failed: {'; '.join(failed)}")
        sys.exit(1)
    print("each call has one receipt of the right amount")


if __name__ == "__main__":
    typer.run(main)
