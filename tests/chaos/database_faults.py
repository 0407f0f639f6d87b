"""What a database does to those who write to it, and what stands before it."""

import contextlib
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg

from tests.chaos.fault import Fault
from tests.chaos.fleet import CONNECTIONS, Fleet
from tests.databases.pgbouncer import PgBouncer
from tests.databases.standby import Standby
from tests.waiting import eventually

RECEIPTS: Final = "SELECT count(*) FROM billing.charge_receipts"
BEHIND_BY: Final = 50
SESSIONS: Final = "FROM pg_stat_activity WHERE starts_with(application_name, 'billing-')"
END_SESSIONS: Final = f"SELECT pg_terminate_backend(pid) {SESSIONS}"
FULL: Final = """
CREATE TABLE IF NOT EXISTS public.on_the_full_disk (row text);
CREATE OR REPLACE FUNCTION public.write_there() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
AS 'BEGIN INSERT INTO public.on_the_full_disk VALUES (''a row''); RETURN NULL; END';
CREATE OR REPLACE TRIGGER on_the_full_disk AFTER INSERT ON billing.charge_receipts
FOR EACH STATEMENT EXECUTE FUNCTION public.write_there();
"""
RETRIED: Final = frozenset({"BillingConsumerRetries"})
POSTGRESQL: Final = {"consumer": "postgresql"}
HANG_SECONDS: Final = (7.0, 10.0)
"""Longer than the five after which a consumer says what it waits for."""


def ask(url: str, *questions: str) -> list[tuple[Any, ...]]:
    """Ask or tell a server something, each outside of a transaction; the last answer."""
    with psycopg.connect(url, autocommit=True) as connection:
        for question in questions:
            cursor = connection.execute(question.encode())
        return cursor.fetchall() if cursor.description else []


def count(url: str) -> int:
    """How many receipts a server has."""
    return int(ask(url, RECEIPTS)[0][0])


@contextmanager
def setting(fleet: Fleet, name: str, value: str) -> Iterator[None]:
    """A setting of the whole server, for as long as the block."""
    ask(fleet.postgres.url, f"ALTER SYSTEM SET {name} = '{value}'", "SELECT pg_reload_conf()")
    try:
        yield
    finally:
        # By whoever it may be read: the server itself may be the one that takes no writes.
        ask(fleet.postgres.url, f"ALTER SYSTEM RESET {name}", "SELECT pg_reload_conf()")


@contextmanager
def standby_of(fleet: Fleet) -> Iterator[Standby]:
    """A standby that follows; afterwards there is none."""
    standby = Standby(fleet.postgres)
    try:
        standby.start()
        yield standby
    finally:
        standby.remove()


@contextmanager
def synchronous(fleet: Fleet) -> Iterator[None]:
    """What is committed is confirmed by the standby."""
    with setting(fleet, "synchronous_standby_names", "*"):
        eventually(
            lambda: (
                ask(fleet.postgres.url, "SELECT sync_state FROM pg_stat_replication") == [("sync",)]
            ),
            "the standby to be waited for",
        )
        yield


def lead_to(fleet: Fleet, port: int) -> None:
    """Have the address of the database mean another server; whoever is connected is cut off."""
    fleet.door.shut()
    fleet.door.behind = port
    fleet.door.open()


def move_back(fleet: Fleet, standby: Standby) -> None:
    """What was the standby goes on in the primary's place: a planned move, which loses nothing."""
    fleet.door.shut()
    standby.stop()
    fleet.postgres.replace(standby.data)
    fleet.postgres.start()
    ask(fleet.postgres.url, "ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")
    lead_to(fleet, fleet.postgres.database.port)


def promote_one_behind(fleet: Fleet, chance: random.Random) -> None:
    """What the standby had not received is gone: the ledger has to be written again."""
    with standby_of(fleet) as standby:
        standby.stop()
        known = count(fleet.postgres.url)
        eventually(lambda: count(fleet.postgres.url) >= known + BEHIND_BY, "the standby to be late")
        time.sleep(chance.uniform(0.2, 1))
        fleet.postgres.kill()
        fleet.door.shut()
        standby.start()
        standby.promote()
        lead_to(fleet, standby.port)
        eventually(lambda: count(standby.url) >= known + BEHIND_BY, "the ledger to be repaired")
        time.sleep(chance.uniform(0, 1))
        move_back(fleet, standby)


def promote_one_that_was_waited_for(fleet: Fleet, chance: random.Random) -> None:
    """Whatever was confirmed is there: nothing is behind."""
    with standby_of(fleet) as standby, synchronous(fleet):
        time.sleep(chance.uniform(0.3, 1.5))
        fleet.postgres.kill()
        standby.promote()
        lead_to(fleet, standby.port)
        time.sleep(chance.uniform(0.5, 2))
        move_back(fleet, standby)


def lose_the_standby(fleet: Fleet, chance: random.Random) -> None:
    """The synchronous standby is away: commits hang, until it is back."""
    with standby_of(fleet) as standby, synchronous(fleet):
        standby.kill()
        time.sleep(chance.uniform(*HANG_SECONDS))
        standby.start()
        time.sleep(chance.uniform(0, 0.5))


def read_only(fleet: Fleet, chance: random.Random) -> None:
    """What a managed server does when its disk is nearly full, and what a demoted primary is."""
    with setting(fleet, "default_transaction_read_only", "on"):
        time.sleep(chance.uniform(2, 5))


def fill_the_disk(fleet: Fleet, chance: random.Random) -> None:
    """No space left for what is written with a receipt, says the kernel: /dev/full stands there."""
    url = fleet.postgres.url
    ask(url, FULL, "TRUNCATE public.on_the_full_disk", "CHECKPOINT")
    place = "SELECT pg_relation_filepath('public.on_the_full_disk')"
    [(directory, file)] = ask(url, f"SELECT current_setting('data_directory'), ({place})")
    kept = Path(directory, file).rename(Path(directory, f"{file}.kept"))
    Path(directory, file).symlink_to("/dev/full")
    # A session that has the file open would go on writing to it.
    ask(url, END_SESSIONS)
    try:
        time.sleep(chance.uniform(2, 5))
    finally:
        kept.rename(Path(directory, file))
        # First what writes there, and with it the trigger: to a consumer, a table that is missing
        # would be a ledger that is not there.
        ask(url, "DROP FUNCTION public.write_there CASCADE", "DROP TABLE public.on_the_full_disk")


def use_up_connections(fleet: Fleet, chance: random.Random) -> None:
    """Every connection is somebody else's, those for superusers among them."""
    with ExitStack() as held:
        first = held.enter_context(psycopg.connect(fleet.postgres.url, autocommit=True))

        def taken() -> bool:
            first.execute(END_SESSIONS.encode())
            with contextlib.suppress(psycopg.OperationalError):
                while True:
                    held.enter_context(psycopg.connect(fleet.postgres.url))
            clients = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            [(ours,)] = first.execute(f"SELECT count(*) {SESSIONS}".encode()).fetchall()
            [(all_,)] = first.execute(clients).fetchall()
            return bool(ours == 0 and all_ >= CONNECTIONS)

        eventually(taken, "every connection")
        time.sleep(chance.uniform(2, 4))


def lock_the_receipts(fleet: Fleet, chance: random.Random) -> None:
    """Somebody holds the table that every batch writes."""
    with psycopg.connect(fleet.postgres.url) as holder:
        holder.execute("LOCK TABLE billing.charge_receipts IN EXCLUSIVE MODE")
        time.sleep(chance.uniform(7, 13))


def freeze(fleet: Fleet, chance: random.Random) -> None:
    """The machine of the database hangs: connections stay open, and nothing answers."""
    fleet.postgres.freeze()
    try:
        time.sleep(chance.uniform(*HANG_SECONDS))
    finally:
        fleet.postgres.thaw()


def kill_the_pooler(fleet: Fleet, chance: random.Random) -> None:
    """PgBouncer in transaction mode, between the group and the database, dies and comes back."""
    with closing(PgBouncer(fleet.postgres.url, "transaction", 2)) as pooler:
        pooler.start()
        lead_to(fleet, pooler.port)
        time.sleep(chance.uniform(0.5, 2))
        pooler.kill()
        time.sleep(chance.uniform(1.5, 3))
        pooler.start()
        time.sleep(chance.uniform(0.5, 2))
        lead_to(fleet, fleet.postgres.database.port)


DATABASE_FAULTS: Final[Mapping[str, Fault]] = {
    "standby that was behind promoted": Fault(
        promote_one_behind,
        missing=POSTGRESQL,
        alerts=RETRIED | {"BillingLedgerBehind"},
        forgets=True,
    ),
    "synchronous standby promoted": Fault(
        promote_one_that_was_waited_for, missing=POSTGRESQL, alerts=RETRIED
    ),
    "synchronous standby away": Fault(lose_the_standby, missing=POSTGRESQL, alerts=RETRIED),
    "database read-only": Fault(read_only, missing=POSTGRESQL, alerts=RETRIED),
    "database's disk full": Fault(fill_the_disk, missing=POSTGRESQL, alerts=RETRIED),
    "database's connections used up": Fault(use_up_connections, missing=POSTGRESQL, alerts=RETRIED),
    "receipts locked": Fault(lock_the_receipts, missing=POSTGRESQL, alerts=RETRIED),
    "database frozen": Fault(freeze, missing=POSTGRESQL, alerts=RETRIED),
    "pooler killed and restarted": Fault(kill_the_pooler, missing=POSTGRESQL),
}
