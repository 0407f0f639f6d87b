"""Memory that a body leaves free is there for the next one, unless the environment forbids it."""

import os
import platform
import subprocess
import sys

import pytest

WORK = """
import resource, sys
from producer_gateway.heap import keep_freed_memory

kept = keep_freed_memory() if sys.argv[1] == "ask" else None
bodies = [bytes(b"x" * 3_000_000) for _ in range(8)]
del bodies
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    bodies = [b"x" * 3_000_000 for _ in range(8)]
    del bodies
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 20 * 8 * 3_000_000 // 4096
"""Of all bodies together."""


def faults(*, ask: bool, **variables: str) -> tuple[str, int]:
    """Whether the heap was told, and the pages that the bodies had from the kernel."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", WORK, "ask" if ask else "no"]
    done = subprocess.run(
        command, env={**clean, **variables}, capture_output=True, text=True, check=True, timeout=120
    )
    told, _, count = done.stdout.strip().partition(" ")
    return told, int(count)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc has no such setting")
def test_what_a_body_leaves_free_is_there_for_the_next_one() -> None:
    _, usual = faults(ask=False)
    told, ours = faults(ask=True)
    assert usual > PAGES // 10
    assert told == "True"
    assert ours < PAGES // 100


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"])
def test_what_the_environment_says_stands(name: str) -> None:
    assert faults(ask=True, **{name: "131072"})[0] == "False"


GIVEN_BACK = """
import psutil
from producer_gateway.heap import FreedMemory, keep_freed_memory

def resident():
    return psutil.Process().memory_info().rss

keep_freed_memory()
received = 0
memory = FreedMemory(lambda: received)
before, sizes = resident(), []
parts = [b"x" * 14_000 for _ in range(10_000)]
last = b"y" * 14_000
del parts
for second in range(40):
    received += second < 20
    memory.look()
    sizes.append(resident() - before)
print(sizes[19], sizes[-1])
"""
MEGABYTE = 1_000_000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc has no such setting")
def test_when_no_body_comes_any_more_the_memory_is_given_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", GIVEN_BACK], capture_output=True, text=True, check=True, timeout=120
    )
    meanwhile, quiet = map(int, done.stdout.split())
    assert meanwhile > 100 * MEGABYTE
    assert quiet < 20 * MEGABYTE
