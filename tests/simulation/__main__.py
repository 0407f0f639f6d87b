"""Runs schedules by hand: `python -m tests.simulation --schedules 1000000 --jobs 2`.

Each job takes seeds of its own. What is broken is shrunk and printed, with the words that run it
again; the exit code is 1 then.
"""

import argparse
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import asdict

from tests.simulation.schedule import Shape, broken, shrunk, silence

SAID_EVERY_SECONDS = 30.0
FOUND_AT_MOST = 3


def arguments() -> argparse.Namespace:
    """What is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.simulation")
    parser.add_argument("--schedules", type=int, default=2_000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of the first one")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    for name, value in asdict(Shape()).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    return parser.parse_args()


def search(seeds: Sequence[int], shape: Shape) -> list[str]:
    """Run the schedules of these seeds; what is broken, each as the words that run it again."""
    silence()
    found: list[str] = []
    began = said_at = time.monotonic()
    for number, seed in enumerate(seeds, 1):
        if broken(seed, shape) is not None:
            small, smaller = shrunk(seed, shape)
            words = " ".join(f"--{name} {value}" for name, value in asdict(smaller).items())
            found.append(
                f"seed {seed}: {broken(small, smaller)}\n"
                f"  again: python -m tests.simulation --schedules 1 --seed {small} {words}"
            )
            print(found[-1], flush=True)
            if len(found) == FOUND_AT_MOST:
                break
        if time.monotonic() - said_at > SAID_EVERY_SECONDS:
            said_at = time.monotonic()
            print(f"{number} of {len(seeds)} schedules, {said_at - began:.0f} s", flush=True)
    return found


def main() -> int:
    """Run them all."""
    wanted = arguments()
    shape = Shape(wanted.members, wanted.partitions, wanted.records, wanted.faults)
    seeds = range(wanted.seed, wanted.seed + wanted.schedules)
    parts = [(seeds[job :: wanted.jobs], shape) for job in range(wanted.jobs)]
    began = time.monotonic()
    if wanted.jobs == 1:
        found = search(*parts[0])
    else:
        with multiprocessing.Pool(wanted.jobs) as pool:
            found = [words for part in pool.starmap(search, parts) for words in part]
    print(f"{len(seeds)} schedules, {len(found)} bad, {time.monotonic() - began:.0f} s")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
