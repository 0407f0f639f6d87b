"""Clocks that are set while a process works: what it takes for the time of day jumps."""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from tests.chaos.fault import Fault
from tests.chaos.fleet import Fleet
from tests.chaos.process import Process
from tests.services.faketime import RIGHT, Clock
from tests.services.waiting import eventually

HELD_SECONDS: Final = (1.5, 3.0)
"""Longer than the second after which a process sees what its clock was set to."""


@contextmanager
def clocked(fleet: Fleet, process: Process) -> Iterator[Process]:
    """A process that goes by a clock of its own serves in another's place."""
    with fleet.standing_in(process):
        eventually(process.is_ready, f"{process.name} to be ready")
        yield process


def jump(clock: Clock, offsets: Sequence[str], chance: random.Random) -> None:
    """Set it wrong, and right again, while there is load."""
    for offset in (*offsets, RIGHT):
        clock.set(offset)
        time.sleep(chance.uniform(*HELD_SECONDS))


def gateway_an_hour_ahead(fleet: Fleet, chance: random.Random) -> None:
    """The gateway's clock jumps ahead, and back."""
    clock = Clock(fleet.directory / "clock")
    with clocked(fleet, fleet.gateway_with(clock.environment)):
        jump(clock, ["+1h"], chance)


def consumer_a_day_off(fleet: Fleet, chance: random.Random) -> None:
    """A member's clock jumps a day back, then two ahead, and back."""
    clock = Clock(fleet.directory / "clock")
    number = chance.randrange(len(fleet.members))

    with clocked(fleet, fleet.member_with(number, settings=clock.environment)) as process:
        jump(clock, ["-1d", "+1d"], chance)
        eventually(process.is_ready, f"{process.name} to be ready at the end")


CLOCK_FAULTS: Final[Mapping[str, Fault]] = {
    "gateway's clock an hour ahead": Fault(gateway_an_hour_ahead),
    "consumer's clock a day back and ahead": Fault(consumer_a_day_off),
}
