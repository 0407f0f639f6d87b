"""States of PostgreSQL that heal: the consumer waits, says so, and goes on. All of them real."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.clients import fetching
from tests.databases.database import fresh_database, migrated_template
from tests.databases.embedded_postgres import EmbeddedPostgres
from tests.databases.lost_receipts import positions, put_back
from tests.inputs.callbacks import in_run
from tests.processes.consuming import Consuming, Member, assigned
from tests.waiting import Stopwatch, eventually

CONNECTIONS: Final = 15
STALLED_SECONDS: Final = 8
RETRIED: Final = "batch will be tried again"
NOT_REMEMBERED: Final = "published offsets not written"
SETTINGS: Final = {
    # A member that is frozen for some seconds keeps its partitions.
    "CONSUMER_SESSION_TIMEOUT_MS": "30000",
    "CONSUMER_STALLED_AFTER_SECONDS": str(STALLED_SECONDS),
}
SESSIONS: Final = """
FROM pg_stat_activity
WHERE starts_with(application_name, 'billing-consumer') AND datname = current_database()
"""


@dataclass
class Hurt:
    """A database on a server of these tests' own, whose superuser may do anything to it."""

    url: str
    calls: int = 0

    def ask(self, question: str) -> list[tuple[Any, ...]]:
        """Ask or tell it something, outside of a transaction."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(question.encode())
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def set(self, name: str, value: str) -> Iterator[None]:
        """A setting of the whole server, for as long as the block."""
        self.ask(f"ALTER SYSTEM SET {name} = '{value}'")
        self.ask("SELECT pg_reload_conf()")
        eventually(lambda: self.ask(f"SHOW {name}") == [(value,)], f"{name} to be {value}")
        try:
            yield
        finally:
            self.ask(f"ALTER SYSTEM RESET {name}")
            self.ask("SELECT pg_reload_conf()")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Somebody holds a table that every batch writes, and no timeout ends him."""
        with psycopg.connect(self.url, options="-c transaction_timeout=0") as holder:
            holder.execute("LOCK TABLE billing.published_offsets IN EXCLUSIVE MODE")
            yield

    def waits_for_the_lock(self) -> bool:
        """Whether the member is in the middle of its transaction."""
        return self.ask(f"SELECT count(*) {SESSIONS} AND wait_event_type = 'Lock'") == [(1,)]

    def works(self) -> bool:
        """Whether the server is at work for the member, and does not wait for it."""
        busy = "state = 'active' AND wait_event IS DISTINCT FROM 'ClientRead'"
        return self.ask(f"SELECT count(*) {SESSIONS} AND {busy}") != [(0,)]

    def sessions(self, *states: str) -> list[tuple[Any, ...]]:
        """The member's sessions in these states."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            asked = f"SELECT pid {SESSIONS} AND state = ANY(%s)".encode()
            return connection.execute(asked, [list(states)]).fetchall()

    @contextmanager
    def full(self) -> Iterator[None]:
        """No space left on the disk of the receipts, says the kernel: /dev/full stands there."""
        [(directory, file)] = self.ask(
            "SELECT current_setting('data_directory'),"
            " pg_relation_filepath('billing.charge_receipts')"
        )
        place = Path(directory, file)
        kept = place.with_name(place.name + ".kept")
        assert place.stat().st_size == 0, "rows would be lost"
        place.rename(kept)
        place.symlink_to("/dev/full")
        # A session that has the file open would go on writing to it.
        self.ask(f"SELECT pg_terminate_backend(pid) {SESSIONS}")
        try:
            yield
        finally:
            place.unlink()
            kept.rename(place)

    @contextmanager
    def used_up(self) -> Iterator[None]:
        """Every connection is somebody else's, those for superusers and the member's among them."""
        with ExitStack() as held:
            first = held.enter_context(psycopg.connect(self.url, autocommit=True))

            def taken() -> bool:
                first.execute(f"SELECT pg_terminate_backend(pid) {SESSIONS}".encode())
                with contextlib.suppress(psycopg.OperationalError):
                    while True:
                        held.enter_context(psycopg.connect(self.url))
                others = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = %s"
                [(count,)] = first.execute(others, ["client backend"]).fetchall()
                left = first.execute(f"SELECT count(*) {SESSIONS}".encode()).fetchall()
                return left == [(0,)] and count >= CONNECTIONS

            eventually(taken, "every connection")
            yield


Give = Callable[[], None]
"""Sends calls that are to get receipts."""


@contextmanager
def read_only(hurt: Hurt, _: Member, give: Give) -> Iterator[None]:
    """What a managed server does when its disk is nearly full, and what a demoted primary is."""
    with hurt.set("default_transaction_read_only", "on"):
        give()
        yield


@contextmanager
def disk_full(hurt: Hurt, _: Member, give: Give) -> Iterator[None]:
    """No room for a row."""
    with hurt.full():
        give()
        yield


@contextmanager
def no_connection_left(hurt: Hurt, _: Member, give: Give) -> Iterator[None]:
    """The member's own is ended and taken by others."""
    with hurt.used_up():
        give()
        yield


@contextmanager
def transaction_timeout(hurt: Hurt, _: Member, give: Give) -> Iterator[None]:
    """The operator allows a second, and somebody's lock takes longer."""
    with hurt.set("transaction_timeout", "1s"), hurt.locked():
        give()
        yield


@contextmanager
def idle_in_transaction(hurt: Hurt, member: Member, give: Give) -> Iterator[None]:
    """The member stands still in its transaction for longer than the server bears it."""

    def stands_in_its_transaction() -> bool:
        with hurt.locked():
            give()
            eventually(hurt.waits_for_the_lock, "the member to wait for the lock")
            member.process.send_signal(signal.SIGSTOP)
        eventually(lambda: not hurt.works(), "the statement's end")
        if hurt.sessions("idle in transaction"):
            return True
        # It had given up waiting just before, or the server was quicker than this: once more.
        member.process.send_signal(signal.SIGCONT)
        return False

    def the_batch_meets_it() -> bool:
        try:
            eventually(stands_in_its_transaction, "the member to stand still in its transaction")
            gone = f"SELECT count(*) {SESSIONS}"
            eventually(lambda: hurt.ask(gone) == [(0,)], "the server's end")
            tried, remembered = times(member, RETRIED), times(member, NOT_REMEMBERED)
        finally:
            member.process.send_signal(signal.SIGCONT)
        eventually(
            lambda: times(member, RETRIED) > tried or times(member, NOT_REMEMBERED) > remembered,
            "the member to say what it met",
        )
        # Now and then it writes down what is published, between two batches: then once more.
        return times(member, RETRIED) > tried

    eventually(the_batch_meets_it, "a batch to meet it", 180)
    yield


@contextmanager
def cancelled(hurt: Hurt, member: Member, give: Give) -> Iterator[None]:
    """Somebody cancels what the member waits for."""
    before = times(member, RETRIED)
    with hurt.locked():
        give()

        def again() -> bool:
            hurt.ask(f"SELECT pg_cancel_backend(pid) {SESSIONS} AND wait_event_type = 'Lock'")
            return times(member, RETRIED) > before

        eventually(again, "the member to try again")
        yield


State = Callable[[Hurt, Member, Give], Any]
# The first needs a table that has never been written. A connection that is refused or was closed
# meanwhile has no state.
STATES: Final[dict[str, tuple[State, set[str | None]]]] = {
    "disk full": (disk_full, {"53100"}),
    "read-only": (read_only, {"25006"}),
    "no connection left": (no_connection_left, {None}),
    "transaction timeout": (transaction_timeout, {"25P04"}),
    "idle in transaction": (idle_in_transaction, {"25P03", None}),
    "cancelled": (cancelled, {"57014"}),
}
PASSING: Final = ("idle in transaction", "cancelled")
"""Over before anybody could ask."""


def times(member: Member, event: str) -> int:
    """How often it logged this."""
    return sum(line.get("event") == event for line in member.lines())


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A server that these tests may hurt."""
    made = EmbeddedPostgres(("-c", f"max_connections={CONNECTIONS}"))
    made.start()
    yield made
    made.stop()
    made.remove()


@pytest.fixture(scope="module")
def template(server: EmbeddedPostgres) -> Iterator[str]:
    """A migrated database on it, for copying."""
    with migrated_template(server.url) as name:
        yield name


@pytest.fixture
def hurt(server: EmbeddedPostgres, template: str) -> Iterator[Hurt]:
    """A database of this test on it."""
    with fresh_database(server.url, template) as url:
        yield Hurt(url)


@pytest.fixture
def consuming(kafka: str, hurt: Hurt, topic_prefix: str, tmp_path: Path) -> Iterator[Consuming]:
    """Topics and tables of this test."""
    with closing(Consuming(kafka, hurt.url, topic_prefix, tmp_path, SETTINGS)) as made:
        yield made


def missing(member: Member) -> dict[str, str]:
    """What `/readyz` says is missing."""
    answer = fetching.get(f"{member.metrics_url}/readyz")
    return dict(answer.json()["missing"])


def send(consuming: Consuming, hurt: Hurt, count: int = 14) -> None:
    """Calls of seven runs, which no earlier one was."""
    consuming.send(*(in_run(number) for number in range(hurt.calls, hurt.calls + count)))
    hurt.calls += count


def states(member: Member, before: int) -> set[Any]:
    """The states for which it has tried again, but for the first `before` times."""
    assert member.process.poll() is None, member.log.read_text()[-3_000:]
    tries = [line for line in member.lines() if line.get("event") == RETRIED]
    return {line["sqlstate"] for line in tries[before:]}


def lives_for_long(member: Member) -> None:
    """It turns for longer than a loop may stand."""
    watch = Stopwatch()

    def lives() -> bool:
        assert member.probe("/livez") == 200
        return watch.seconds() > STALLED_SECONDS + 2

    eventually(lives, "longer than a loop may stand")


def test_the_consumer_waits_while_postgresql_is_in_a_state_that_heals(
    consuming: Consuming, hurt: Hurt
) -> None:
    member = consuming.member()
    for name, (state, expected) in STATES.items():
        before = times(member, RETRIED)
        with state(hurt, member, lambda: send(consuming, hurt)):

            def waits() -> bool:
                return bool(expected & states(member, before))  # noqa: B023 - asked at once

            eventually(waits, f"{name}: to be told")
            if name not in PASSING:
                eventually(lambda: "postgresql" in missing(member), f"{name}: 503")
                assert member.probe("/livez") == 200, name
        consuming.all_committed()
        eventually(lambda: member.probe("/readyz") == 200, f"{name}: ready again")
    consuming.every_receipt_is_published_once(hurt.calls)
    assert consuming.dead_letters() == []
    assert member.end() == 0


def test_a_consumer_that_starts_without_a_connection_left_waits_for_one(
    consuming: Consuming, hurt: Hurt
) -> None:
    send(consuming, hurt)
    with hurt.used_up():
        member = consuming.member(ready=False)
        eventually(lambda: member.said("the database is not ready"), "the member to say so")
        assert "postgresql" in missing(member)
        assert member.probe("/livez") == 200
    consuming.all_committed()
    consuming.every_receipt_is_published_once(hurt.calls)


def test_a_commit_that_hangs_is_told_and_waited_for(consuming: Consuming, hurt: Hurt) -> None:
    """The synchronous standby is away: what is committed is confirmed by nobody."""
    member = consuming.member()
    with hurt.set("synchronous_standby_names", "nobody"):
        send(consuming, hurt)
        eventually(lambda: "postgresql" in missing(member), "503")
        lives_for_long(member)
        guest = consuming.member()
        eventually(lambda: assigned([member, guest]) == [9, 9], "the group to share")
        assert consuming.events() == []
    consuming.all_committed()
    eventually(lambda: member.probe("/readyz") == 200, "ready again")
    consuming.every_receipt_is_published_once(hurt.calls)
    assert [member.end(), guest.end()] == [0, 0]


def test_a_consumer_whose_commit_hangs_stops_when_asked(consuming: Consuming, hurt: Hurt) -> None:
    member = consuming.member()
    with hurt.set("synchronous_standby_names", "nobody"):
        send(consuming, hurt)
        eventually(lambda: "postgresql" in missing(member), "503")
        assert member.end() == 0
    consuming.member()
    consuming.all_committed()
    consuming.every_receipt_is_published_once(hurt.calls)


BEHIND: Final = "billing_ledger_behind_records_total"
WHATEVER_THE_SERVER_SAYS: Final = "-c default_transaction_read_only=off -c synchronous_commit=local"


@pytest.mark.parametrize(
    ("name", "value"),
    [("default_transaction_read_only", "on"), ("synchronous_standby_names", "nobody")],
)
def test_what_a_ledger_lacks_is_written_again_when_postgresql_has_healed(
    consuming: Consuming, hurt: Hurt, name: str, value: str
) -> None:
    """A fail-over to a standby that was behind, and is read-only for some time, or waits itself."""
    send(consuming, hurt)
    member = consuming.member()
    consuming.all_committed()
    eventually(lambda: sum(position[2] for position in positions(hurt.url)) == 14, "all positions")
    before = positions(hurt.url)
    send(consuming, hurt)
    consuming.all_committed()
    whole = consuming.tables.receipts()
    with hurt.set(name, value):
        assert put_back(make_conninfo(hurt.url, options=WHATEVER_THE_SERVER_SAYS), before) == 14
        eventually(lambda: "postgresql" in missing(member), "503")
        lives_for_long(member)
        standby = name == "default_transaction_read_only"
        assert member.counted(BEHIND) == (0 if standby else 14)
    eventually(
        lambda: len(consuming.tables.receipts()) == len(whole) == 28, "the receipts to be back"
    )
    eventually(lambda: member.probe("/readyz") == 200, "ready again")
    assert member.counted(BEHIND) == 14
    send(consuming, hurt)
    consuming.all_committed()
    consuming.every_receipt_is_published_once(hurt.calls)
    assert member.end() == 0


def test_a_new_group_whose_first_positions_hang_turns_and_loses_nothing(
    consuming: Consuming, hurt: Hurt
) -> None:
    send(consuming, hurt)
    with hurt.set("synchronous_standby_names", "nobody"):
        member = consuming.member(ready=False)
        eventually(lambda: member.said("partitions assigned"), "the member to be there")
        eventually(lambda: "postgresql" in missing(member), "503")
        lives_for_long(member)
    consuming.all_committed()
    consuming.every_receipt_is_published_once(hurt.calls)
    assert member.end() == 0
