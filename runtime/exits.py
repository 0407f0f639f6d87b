"""How a process ends: past the exit handlers of C libraries, under which threads may still run."""

import atexit
import os
import sys
import traceback
from collections.abc import Callable
from typing import Final, NoReturn

_UNCAUGHT: Final = 1
_UNWRITTEN: Final = 120
"""What was printed did not reach whoever was to read it; so ends the interpreter."""
_INTERRUPTED: Final = 130
"""128 + SIGINT, as a shell has it."""


def exit_after(run: Callable[[], object]) -> NoReturn:
    """Call `run`, then end the process with the code that the interpreter would end it with.

    A Kafka client that waits for a broker, or whose call was given up, still has threads when the
    process ends. C's exit handlers free what those use (OpenSSL's tables), and amid a TLS handshake
    the process crashes, with exit code -11 in place of its own. Python's own exit handlers run and
    the standard streams are flushed; C's handlers do not run. Threads that are not daemons are not
    waited for.
    """
    code = _UNCAUGHT
    try:
        run()
        code = 0
    except SystemExit as exit_:
        code = _code(exit_)
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except BaseException:  # noqa: BLE001 - as the interpreter does with what nobody caught
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()  # noqa: SLF001 - what `multiprocessing` ends its processes with
        os._exit(code if _flushed() else code or _UNWRITTEN)


def _code(exit_: SystemExit) -> int:
    if exit_.code is None:
        return 0
    if isinstance(exit_.code, int):
        return exit_.code
    print(exit_.code, file=sys.stderr)  # noqa: T201 - as the interpreter does with a text
    return _UNCAUGHT


def _flushed() -> bool:
    """Write out what was printed; false where nobody takes it any more."""
    taken = True
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            taken = False
    return taken
