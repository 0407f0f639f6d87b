"""Becomes a room's process at once: its modules are imported already.

`python -m tests.processes.fork_server ROOM SOCKET PARENT`: imports every module of ROOM, but none
runs; then waits on SOCKET for what to become. Each time it forks, and the new process is a child of
PARENT, the test process: it has the environment, the directory and the files that it was given, and
nothing of its predecessors. It runs the module as `python -m` does. An interpreter and its imports
would take most of a second of a processor each time.
"""

import array
import ctypes
import faulthandler
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import sys
import threading
import time
from typing import Any

MOST_BYTES = 1 << 20
FILES = 3
PR_SET_PDEATHSIG = 1


def import_all(room: str) -> None:
    """Import what a process of the room imports, but for what begins to run."""
    package = importlib.import_module(room)
    for module in pkgutil.iter_modules(package.__path__):
        if module.name != "__main__":
            importlib.import_module(f"{room}.{module.name}")
    gc.collect()
    gc.freeze()
    # A thread would not be there in the new processes, but what it had locked would stay locked.
    if threading.active_count() != 1:
        raise RuntimeError(f"importing {room} starts threads")


def wanted(asked: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """What to become next, with its stdin, stdout and stderr; None when nobody asks any more."""
    numbers = array.array("i")
    size = socket.CMSG_LEN(FILES * numbers.itemsize)
    text, ancillary, _, _ = asked.recvmsg(MOST_BYTES, size)
    if not text:
        return None
    numbers.frombytes(ancillary[0][2])
    return json.loads(text), list(numbers)


def fork(parent: int) -> int:
    """Fork a child of `parent`: 0 in it, its pid in this process.

    The process between ends at once, so the kernel gives its child to `parent`, which has asked for
    the orphans below it (PR_SET_CHILD_SUBREAPER).
    """
    reader, writer = os.pipe()
    between = os.fork()
    if between == 0:
        between = os.getpid()
        made = os.fork()
        if made:
            os.write(writer, str(made).encode())
            os._exit(0)
        os.close(reader)
        os.close(writer)
        while os.getppid() == between:
            time.sleep(0.0005)
        if os.getppid() != parent:
            os._exit(1)  # the tests are gone
        return 0
    os.close(writer)
    made = int(os.read(reader, 20))
    os.close(reader)
    os.waitpid(between, 0)
    return made


def become(request: dict[str, Any], files: list[int]) -> None:
    """Take over environment, directory, files, session and signals of the new process."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    if request["session"]:
        os.setsid()
    if request["orphan_signal"]:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, request["orphan_signal"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # One that crashes, or is aborted because it does not end, says where each thread stood.
    faulthandler.enable(all_threads=True)
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    os.chdir(request["directory"])
    sys.argv = list(request["arguments"])
    sys.path[0] = os.getcwd()  # noqa: PTH109 - as `python -m` does


def main() -> None:
    """Serve until the socket is closed; in a new process: run what was asked for."""
    room, descriptor, parent = sys.argv[1:]
    asked = socket.socket(fileno=int(descriptor))
    import_all(room)
    while found := wanted(asked):
        request, files = found
        made = fork(int(parent))
        if not made:
            asked.close()
            become(request, files)
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
            return
        for file in files:
            os.close(file)
        asked.sendall(str(made).encode())


if __name__ == "__main__":
    main()
