"""A release with a bug: `python -m tests.doubles.broken_release` is a consumer that parks all.

It is broken from outside, so that the consumer's own code carries no switch for tests.
"""

import sys

from charging.decision import Policy
from charging.outcomes import Decision, Parked
from consumer import service
from consumer.commands import app
from schemas.headers import Reason
from schemas.record import Record


def park(record: Record, policy: Policy) -> Decision:
    """Decide as a release does that cannot read what LiteLLM sends."""
    return Parked(Reason.CONTRACT_BROKEN, f"a bug, under markup {policy.markup}: {record.offset}")


def main() -> None:
    """Run the consumer with the decision replaced."""
    setattr(service, "decide", park)  # noqa: B010 - mypy refuses the plain assignment
    app(["run"], prog_name=sys.argv[0])


if __name__ == "__main__":
    main()
