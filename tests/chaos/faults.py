"""The faults, by name, and those of the rooms' processes and of their broker."""

import random
import resource
import time
from collections.abc import Mapping
from signal import SIGKILL

from tests.chaos.clock_faults import CLOCK_FAULTS
from tests.chaos.crash import STEPS
from tests.chaos.database_faults import DATABASE_FAULTS, END_SESSIONS, ask
from tests.chaos.fault import Fault, Injection
from tests.chaos.fleet import DELIVERY_TIMEOUT_MS, SESSION_TIMEOUT_MS, Fleet
from tests.chaos.guard_faults import GUARD_FAULTS
from tests.chaos.kafka_faults import KAFKA_FAULTS
from tests.chaos.memory_faults import MEMORY_FAULTS
from tests.chaos.process import alive
from tests.chaos.upgrade_faults import UPGRADE_FAULTS
from tests.waiting import eventually

CRASH_SECONDS = 30.0


def _crash_at(step: str) -> Injection:
    def crash(fleet: Fleet, chance: random.Random) -> None:
        """Put a member with a lit fuse in another's place; it dies and the other comes back."""
        number = chance.randrange(len(fleet.members))
        fleet.members[number].stop()
        batch = chance.randint(1, 4) * (7 if step == "mid_copy" else 1)
        doomed = fleet.crashing_member(number, step, batch)
        doomed.start()
        eventually(lambda: not alive(doomed), f"the crash at {step}", CRASH_SECONDS)
        doomed.kill()
        fleet.members[number].start()

    return crash


def kill_consumer(fleet: Fleet, chance: random.Random) -> None:
    """SIGKILL at any instruction."""
    time.sleep(chance.uniform(0, 0.3))
    member = chance.choice(fleet.members)
    member.kill()
    member.start()


def kill_gateway(fleet: Fleet, chance: random.Random) -> None:
    """SIGKILL in mid-request."""
    time.sleep(chance.uniform(0, 0.2))
    fleet.gateway.kill()
    fleet.gateway.start()
    fleet.wait_for_gateway()


def stop_gateway(fleet: Fleet, chance: random.Random) -> None:
    """SIGTERM in mid-request: what is in hand is finished."""
    time.sleep(chance.uniform(0, 0.2))
    fleet.gateway.stop()
    fleet.gateway.start()
    fleet.wait_for_gateway()


def kill_database(fleet: Fleet, chance: random.Random) -> None:
    """SIGKILL the postmaster and start it again: it recovers from its log."""
    time.sleep(chance.uniform(0, 0.3))
    fleet.postgres.kill()
    fleet.postgres.start()


def terminate_backends(fleet: Fleet, chance: random.Random) -> None:
    """Every connection of a consumer is cut by the server, several times."""
    for _ in range(chance.randint(1, 5)):
        ask(fleet.postgres.url, END_SESSIONS)
        time.sleep(chance.uniform(0.02, 0.3))


def members_come_and_go(fleet: Fleet, chance: random.Random) -> None:
    """The group changes while it works."""
    for _ in range(2):
        member = chance.choice(fleet.members)
        member.stop()
        time.sleep(chance.uniform(0, 0.5))
        member.start()
        time.sleep(chance.uniform(0, 1))


def zombie(fleet: Fleet, chance: random.Random) -> None:
    """A consumer is frozen past its session timeout; its work moves; then it wakes."""
    member = chance.choice(fleet.members)
    member.suspend()
    time.sleep(SESSION_TIMEOUT_MS / 1_000 + chance.uniform(0.5, 2))
    member.resume()


def spool_disk_full(fleet: Fleet, chance: random.Random) -> None:
    """The broker does not answer, and the disk has no room for what it would have taken."""
    files = [fleet.gateway.log, *fleet.spool.iterdir()]
    room = max(file.stat().st_size for file in files) + chance.randint(0, 300_000)
    fleet.kafka.suspend()
    resource.prlimit(fleet.gateway.pid, resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    time.sleep(DELIVERY_TIMEOUT_MS / 1_000 + chance.uniform(0.5, 2))
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(fleet.gateway.pid, resource.RLIMIT_FSIZE, unlimited)
    fleet.kafka.resume()


def kill_gateway_with_spool(fleet: Fleet, chance: random.Random) -> None:
    """The broker does not answer, and the gateway dies with what it has taken meanwhile."""
    fleet.kafka.suspend()
    time.sleep(DELIVERY_TIMEOUT_MS / 1_000 + chance.uniform(0.2, 1))
    fleet.gateway.kill()
    fleet.gateway.start()
    fleet.wait_for_gateway()
    time.sleep(chance.uniform(0, 0.5))
    fleet.kafka.resume()


def repeats(fleet: Fleet, chance: random.Random) -> None:
    """Nothing breaks; the sender repeats and reorders what it sends, as it always does."""
    time.sleep(chance.uniform(0.3, 1.0))
    fleet.gateway.check()


def _crashes() -> dict[str, Fault]:
    return {
        f"consumer killed {step.replace('_', ' ')}": Fault(
            _crash_at(step), ends={"consumer": -SIGKILL}
        )
        for step in STEPS
    }


FAULTS: Mapping[str, Fault] = {
    **_crashes(),
    "consumer killed at any instruction": Fault(kill_consumer),
    "gateway killed in mid-request": Fault(kill_gateway),
    "gateway stopped in mid-request": Fault(stop_gateway),
    "gateway killed with a spool": Fault(kill_gateway_with_spool),
    "spool's disk full": Fault(spool_disk_full),
    **{name: Fault(inject) for name, inject in KAFKA_FAULTS.items()},
    "database killed and restarted": Fault(kill_database),
    "database connections cut": Fault(terminate_backends),
    "members join and leave": Fault(members_come_and_go),
    "consumer frozen past its session": Fault(zombie, alerts=frozenset({"BillingConsumerDown"})),
    "callbacks repeated and reordered": Fault(repeats),
    **DATABASE_FAULTS,
    **GUARD_FAULTS,
    **CLOCK_FAULTS,
    **UPGRADE_FAULTS,
    **MEMORY_FAULTS,
}
