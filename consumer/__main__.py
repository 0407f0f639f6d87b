"""The consumer's command line: `python -m consumer run`, and the older names of `billing`."""

import sys

from consumer.former import pass_on, passes_on
from runtime.exits import exit_after


def main() -> None:
    """Run a command, or the operator's process in place of this one."""
    if passes_on(sys.argv[1:]):
        pass_on(sys.argv[1:])
    # Last: it imports the whole consumer, which the process that replaces this one does not need.
    from consumer.commands import app

    exit_after(app)


if __name__ == "__main__":
    main()
