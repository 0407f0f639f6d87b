"""A room whose Kafka client keeps the machine's clock: `python -m tests.chaos.clocked ROOM run`.

For processes that go by another clock than the machine's (`tests.processes.faketime`). librdkafka
waits with `cnd_timedwait`, which libfaketime does not know: it would take what the client computes
from the wrong clock for the right time, and wait for as long as the clock is ahead.
"""

import os
import runpy
import sys


def main() -> None:
    """Load the client so that it finds the C library before libfaketime; then run the room."""
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | os.RTLD_DEEPBIND)
    import confluent_kafka  # noqa: F401, PLC0415 - this is where it is loaded

    sys.setdlopenflags(flags)
    _, room, *arguments = sys.argv
    sys.argv = [room, *arguments]
    runpy.run_module(room, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
