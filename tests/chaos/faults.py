"""The faults, by name. Each injects itself, holds, and is mended before it returns."""

import random
import resource
import time
from collections.abc import Callable, Mapping

import psycopg

from tests.chaos.crash import STEPS
from tests.chaos.fleet import DELIVERY_TIMEOUT_MS, SESSION_TIMEOUT_MS, Fleet, alive
from tests.chaos.kafka_faults import KAFKA_FAULTS
from tests.services.waiting import eventually

Fault = Callable[[Fleet, random.Random], None]

CRASH_SECONDS = 30.0


def _crash_at(step: str) -> Fault:
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
        with psycopg.connect(fleet.postgres.url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'billing-consumer'"
            )
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


FAULTS: Mapping[str, Fault] = {
    **{f"consumer killed {step.replace('_', ' ')}": _crash_at(step) for step in STEPS},
    "consumer killed at any instruction": kill_consumer,
    "gateway killed in mid-request": kill_gateway,
    "gateway stopped in mid-request": stop_gateway,
    "gateway killed with a spool": kill_gateway_with_spool,
    "spool's disk full": spool_disk_full,
    **KAFKA_FAULTS,
    "database killed and restarted": kill_database,
    "database connections cut": terminate_backends,
    "members join and leave": members_come_and_go,
    "consumer frozen past its session": zombie,
    "callbacks repeated and reordered": repeats,
}
