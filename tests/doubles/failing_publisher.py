"""A consumer whose first transaction fails: `python -m tests.doubles.failing_publisher`.

It fails from outside, so that the consumer's own code carries no switch for tests.
"""

import sys
from collections.abc import Sequence

from charging.outcomes import Outcome
from consumer.commands import app
from consumer.extent import Extent
from consumer.publisher import Publisher, PublishError

publish = Publisher.publish
failed: list[int] = []


def fail_once(
    self: Publisher, outcomes: Sequence[Outcome], extent: Extent, metadata: object
) -> None:
    """Publish nothing of the first batch, as where the broker goes away."""
    if not failed:
        failed.append(len(outcomes))
        raise PublishError("not this time")
    publish(self, outcomes, extent, metadata)


def main() -> None:
    """Run the consumer with the publisher replaced."""
    setattr(Publisher, "publish", fail_once)  # noqa: B010 - mypy refuses the plain assignment
    app(["run"], prog_name=sys.argv[0])


if __name__ == "__main__":
    main()
