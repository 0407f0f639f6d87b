"""A consumer that looks at its group all the time: `python -m tests.doubles.hasty_backlog run`.

So a question about the group is always under way when the broker dies.
"""

import sys

from consumer import backlog
from consumer.commands import app


def main() -> None:
    """Run the consumer without the pause between two looks."""
    vars(backlog)["_EVERY_SECONDS"] = 0.01
    app(["run"], prog_name=sys.argv[0])


if __name__ == "__main__":
    main()
