"""Clocks that are set while a process works: what it takes for the time of day jumps."""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import httpx

from tests.chaos.fault import Fault
from tests.chaos.fleet import Fleet
from tests.chaos.process import Process
from tests.clients import fetching
from tests.processes.faketime import RIGHT, Clock
from tests.waiting import eventually

HELD_SECONDS: Final = (1.5, 3.0)
"""Longer than the second after which a process sees what its clock was set to."""
STALLED_SECONDS: Final = 5
RIGHT_IN_THE_CLIENT: Final = "tests.chaos.clocked"


@contextmanager
def clocked(fleet: Fleet, process: Process) -> Iterator[None]:
    """A process that goes by a clock of its own serves in another's place."""
    with fleet.standing_in(process):
        eventually(process.is_ready, f"{process.name} to be ready")
        yield


def jump(clock: Clock, offsets: Sequence[str], chance: random.Random) -> None:
    """Set it wrong, and right again, while there is load."""
    for offset in (*offsets, RIGHT):
        clock.set(offset)
        time.sleep(chance.uniform(*HELD_SECONDS))


def gateway_an_hour_ahead(fleet: Fleet, chance: random.Random) -> None:
    """The gateway's clock jumps ahead, and back."""
    clock = Clock(fleet.directory / "clock")
    program = (RIGHT_IN_THE_CLIENT, "producer_gateway", "run")
    with clocked(fleet, fleet.gateway_with(program, clock.environment)):
        jump(clock, ["+1h"], chance)


def consumer_a_day_off(fleet: Fleet, chance: random.Random) -> None:
    """A member's clock jumps a day back, then two ahead, and back."""
    clock = Clock(fleet.directory / "clock")
    member = fleet.member_with(
        chance.randrange(len(fleet.members)),
        program=(RIGHT_IN_THE_CLIENT, "consumer", "run"),
        settings=clock.environment,
    )
    with clocked(fleet, member):
        jump(clock, ["-1d", "+1d"], chance)
        eventually(member.is_ready, f"{member.name} to be ready at the end")


def consumer_stands_still(fleet: Fleet, chance: random.Random) -> None:
    """A member's Kafka client waits for a day, as it does where a machine's clock is set back.

    The group does without it, and its `/livez` has it started again.
    """
    clock = Clock(fleet.directory / "clock")
    stalled = {"CONSUMER_STALLED_AFTER_SECONDS": str(STALLED_SECONDS)}
    member = fleet.member_with(
        chance.randrange(len(fleet.members)), settings=clock.environment | stalled
    )
    with clocked(fleet, member):
        clock.set("+1d")
        eventually(lambda: is_bad(member), "/livez to be bad")
        member.kill()


def is_bad(process: Process) -> bool:
    """Whether its `/livez` says that a restart would help."""
    answer = fetching.probe(f"http://127.0.0.1:{process.metrics_port}/livez")
    return answer.status_code == httpx.codes.SERVICE_UNAVAILABLE


CLOCK_FAULTS: Final[Mapping[str, Fault]] = {
    "gateway's clock an hour ahead": Fault(gateway_an_hour_ahead),
    "consumer's clock a day back and ahead": Fault(consumer_a_day_off),
    "consumer's client stands still as a clock is set": Fault(
        consumer_stands_still, fails_livez=True
    ),
}
