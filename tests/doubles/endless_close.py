"""A consumer whose Kafka client leaves the group and never returns from that.

`python -m tests.doubles.endless_close`. It stands still from outside, so that the consumer's own
code carries no switch for tests.
"""

import sys
import threading

import confluent_kafka

from consumer import service
from consumer.commands import app


class Endless(confluent_kafka.Consumer):
    """Closes, and stands still."""

    def close(self) -> None:
        """Return never."""
        super().close()
        threading.Event().wait()


def main() -> None:
    """Run the consumer with the client replaced."""
    setattr(service, "Consumer", Endless)  # noqa: B010 - mypy refuses the plain assignment
    app(["run"], prog_name=sys.argv[0])


if __name__ == "__main__":
    main()
