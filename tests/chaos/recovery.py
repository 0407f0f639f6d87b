"""How long a group of three is without a member: `python -m tests.chaos.recovery --help`.

Under steady load a member is killed (SIGKILL) or stopped (SIGTERM). From then on a probe goes to
every partition four times a second. What is reported of a round is the longest that any of them
waited for its committed receipt: the pause that a partition has when its member is gone.
"""

import json
import random
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from confluent_kafka import Producer
from rich.console import Console
from rich.table import Table

from consumer.settings import Settings
from tests.chaos.books import Books, Call, Fate, Sender
from tests.chaos.fleet import Fleet, running_fleet
from tests.processes.process import Server, whole_lines
from tests.waiting import eventually

TIMEOUT_MS: int = Settings.model_fields["consumer_session_timeout_ms"].default
MARGIN_SECONDS = 5.0
EVERY_SECONDS = 0.25
LOOK_SECONDS = 0.05
QUIET_SECONDS = 3.0
GIVE_UP_SECONDS = 120.0
AT_REST_SECONDS = 1.0

console = Console(width=100)


class Probes:
    """Calls sent straight to each partition of the callbacks topic, and their receipts."""

    def __init__(self, fleet: Fleet) -> None:
        self._topic = fleet.topics.callbacks
        self._url = fleet.postgres.url
        client = {"bootstrap.servers": fleet.kafka.bootstrap, "linger.ms": 0, "log_level": 2}
        self._producer = Producer(client)
        self._sent: dict[str, float] = {}
        self.longest = 0.0

    @property
    def waiting(self) -> int:
        """How many have no receipt yet."""
        return len(self._sent)

    def send(self) -> None:
        """Send one to every partition."""
        for partition in range(self._topic.partitions):
            name = f"probe-{uuid.uuid4()}"
            call = Call(name, name, f"probes-{partition}", Fate.RECEIPT, "0.25")
            self._sent[name] = time.monotonic()
            self._producer.produce(self._topic.name, call.element(), partition=partition)
        self._producer.poll(0)

    def look(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        """See which have their receipts now."""
        found = connection.execute(
            "SELECT response_id FROM billing.charge_receipts WHERE response_id = ANY(%s)",
            [list(self._sent)],
        ).fetchall()
        now = time.monotonic()
        for (name,) in found:
            self.longest = max(self.longest, now - self._sent.pop(str(name)))

    def watch(self, ending: threading.Thread) -> float:
        """Send and look until all is quiet again; the longest wait in seconds."""
        began = sent_at = time.monotonic()
        self.longest = 0.0
        self.send()
        with psycopg.connect(self._url, autocommit=True) as connection:
            while self._sent or ending.is_alive() or time.monotonic() - began < QUIET_SECONDS:
                if time.monotonic() - began > GIVE_UP_SECONDS:
                    raise TimeoutError(f"{self.waiting} probes have no receipt")
                # Later ones find the partitions served again; the first to wait have the longest.
                if time.monotonic() - sent_at >= EVERY_SECONDS:
                    sent_at = time.monotonic()
                    self.send()
                time.sleep(LOOK_SECONDS)
                self.look(connection)
        return self.longest

    def at_rest(self) -> bool:
        """Whether a probe to every partition has its receipt within a second."""
        self.longest = 0.0
        self.send()
        with psycopg.connect(self._url, autocommit=True) as connection:
            until = time.monotonic() + GIVE_UP_SECONDS
            while self._sent and time.monotonic() < until:
                time.sleep(LOOK_SECONDS)
                self.look(connection)
        return not self._sent and self.longest < AT_REST_SECONDS


@contextmanager
def running(timeout_ms: int, directory: Path) -> Iterator[Fleet]:
    """A fleet under load."""
    # Who dies in the middle of a transaction leaves it open; until it ends, nobody is told the
    # offsets that the partitions go on from. So the longer of the two decides.
    timeouts = ("CONSUMER_SESSION_TIMEOUT_MS", "CONSUMER_TRANSACTION_TIMEOUT_MS")
    with running_fleet(directory, **dict.fromkeys(timeouts, str(timeout_ms))) as fleet:
        sender = Sender(fleet.gateway_url, fleet.token, Books(1))
        sender.start()
        try:
            yield fleet
        finally:
            sender.stop()


def assignments(member: Server) -> int:
    """How often a member was given partitions, over all its lives."""
    lines = whole_lines(member.log)
    return sum(
        json.loads(line).get("event") == "partitions assigned"
        for line in lines
        if line.startswith("{")
    )


def one_round(fleet: Fleet, probes: Probes, member: Server, how: str) -> float:
    """End a member, measure, bring it back, wait until it works; seconds of the pause."""
    ending = threading.Thread(target=member.kill if how == "SIGKILL" else member.stop)
    ending.start()
    pause = probes.watch(ending)
    ending.join()
    before = assignments(member)
    member.start()
    eventually(lambda: assignments(member) > before, "the member to have partitions", 60)
    eventually(probes.at_rest, "the group to be at rest", 120)
    fleet.gateway.check()
    return pause


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Of each kind, taken in turn.")] = 5,
    timeout_ms: Annotated[
        int, typer.Option(min=1_000, help="Session and transaction timeout of the members.")
    ] = TIMEOUT_MS,
    seed: Annotated[int, typer.Option(help="Which members it meets.")] = 1,
) -> None:
    """Measure how long a partition is without receipts when its member is killed or stopped."""
    chance = random.Random(seed)  # noqa: S311 - a schedule, no secret
    limit = timeout_ms / 1_000 + MARGIN_SECONDS
    pauses: dict[str, list[float]] = {"SIGKILL": [], "SIGTERM": []}
    with (
        tempfile.TemporaryDirectory() as directory,
        running(timeout_ms, Path(directory)) as fleet,
    ):
        probes = Probes(fleet)
        eventually(lambda: all(map(assignments, fleet.members)), "partitions for all", 60)
        eventually(probes.at_rest, "the group to be at rest", 120)
        for number in range(rounds):
            for how, found in pauses.items():
                found.append(one_round(fleet, probes, chance.choice(fleet.members), how))
                console.print(f"{number + 1}/{rounds} {how}: {found[-1]:.1f} s")
    table = Table("member ended by", "rounds", "median", "longest", "limit", "")
    for how, found in pauses.items():
        met = max(found) <= limit
        table.add_row(
            how,
            str(rounds),
            f"{statistics.median(found):.1f} s",
            f"{max(found):.1f} s",
            f"{limit:.1f} s",
            "met" if met else "missed",
        )
    console.print(table)
    raise typer.Exit(0 if max(map(max, pauses.values())) <= limit else 1)


if __name__ == "__main__":
    typer.run(main)
