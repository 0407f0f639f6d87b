"""The consumer's threads share two heaps, unless the environment says otherwise."""

import os
import platform
import subprocess
import sys

import pytest

WORK = """
import ctypes, sys, threading
from consumer.heap import share_heaps

shared = share_heaps() if sys.argv[1] == "ask" else None
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
together = threading.Barrier(8)

def work():
    together.wait()
    libc.malloc(100_000)
    together.wait()

threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(shared, flush=True)
stream = libc.fdopen
stream.restype = ctypes.c_void_p
out = ctypes.c_void_p(stream(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""
HEAPS = "<heap nr="


def heaps(*, ask: bool, **variables: str) -> tuple[str, int]:
    """Whether the C library was told, and the number of heaps that eight threads have."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", WORK, "ask" if ask else "no"]
    done = subprocess.run(
        command, env={**clean, **variables}, capture_output=True, text=True, check=True, timeout=120
    )
    told, _, listed = done.stdout.partition("\n")
    return told, listed.count(HEAPS)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc has no such setting")
def test_threads_of_the_consumer_share_two_heaps() -> None:
    _, usual = heaps(ask=False)
    assert usual > 2
    assert heaps(ask=True) == ("True", 2)


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_what_the_environment_says_of_heaps_stands(name: str) -> None:
    value = "5" if name == "MALLOC_ARENA_MAX" else "glibc.malloc.arena_max=5"
    assert heaps(ask=True, **{name: value}) == ("False", 5)
