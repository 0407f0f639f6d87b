"""How the loop waits for work that hangs: it turns, says what is missing, and stops when asked."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import psycopg
import pytest
from confluent_kafka import KafkaError, KafkaException

from consumer import waiting
from consumer.health import Health
from consumer.outside import Threaded
from consumer.waiting import Waiting, first_answer, first_clients, reach

Each = Callable[[int], None]
"""What happens at a turn, by its number."""


class Reader:
    """Polls without reading, and does something at each turn."""

    def __init__(self) -> None:
        self.turns = 0
        self.resumed = 0
        self.each: Each = lambda _: None

    def idle(self) -> None:
        """One turn."""
        self.turns += 1
        self.each(self.turns)

    def resume(self) -> None:
        """Read on."""
        self.resumed += 1


class Ledger:
    """Answers as it is told, one time after the other."""

    def __init__(self, *answers: Exception | None) -> None:
        self._answers = list(answers)

    def ping(self) -> None:
        """Answer."""
        if answer := self._answers.pop(0):
            raise answer


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for seconds."""
    for name in ("_QUIET_SECONDS", "_HANGS_SECONDS", "_STOPPING_SECONDS", "_TURN_SECONDS"):
        monkeypatch.setattr(waiting, name, 0.0)


def patient(reader: Reader, health: Health, stop: threading.Event) -> Waiting:
    """What is tried."""
    foreign: Any = reader
    return Waiting(foreign, health, stop, 0.01)


def refuse() -> None:
    """Nothing is given up here."""
    raise AssertionError


def test_work_that_has_ended_is_not_waited_for() -> None:
    reader, health, done = Reader(), Health(60), Future[None]()
    done.set_exception(psycopg.OperationalError("its own affair"))
    patient(reader, health, threading.Event()).for_end_of(
        Threaded(done), lambda: "postgresql", refuse
    )
    assert (reader.turns, health.missing) == (0, None)


def test_work_that_hangs_is_told_while_the_loop_turns() -> None:
    now = [0.0]
    reader, health, hangs = Reader(), Health(60, lambda: now[0]), Future[None]()

    def each(turn: int) -> None:
        now[0] += 50
        assert health.live() == {}
        if turn > 1:
            assert health.missing == "postgresql"
        if turn == 10:
            hangs.set_result(None)

    reader.each = each
    patient(reader, health, threading.Event()).for_end_of(
        Threaded(hangs), lambda: "postgresql", refuse
    )
    assert (reader.turns, reader.resumed) == (10, 1)


def test_work_that_hangs_is_given_up_where_the_loop_is_to_stop() -> None:
    reader, stop, hangs = Reader(), threading.Event(), Future[None]()
    reader.each = lambda turn: stop.set() if turn == 3 else None

    def give_up() -> None:
        hangs.set_exception(psycopg.OperationalError("cut"))

    patient(reader, Health(60), stop).for_end_of(Threaded(hangs), lambda: "postgresql", give_up)
    assert stop.is_set()
    assert hangs.done()


def test_partitions_are_given_away_at_once_where_work_hangs() -> None:
    reader, hangs = Reader(), Future[None]()
    tried = patient(reader, Health(60), threading.Event())

    def each(turn: int) -> None:
        # In a rebalance callback, which the poll of this turn serves.
        if turn == 2:
            tried.before_revocation([Threaded(hangs)])
            hangs.set_result(None)

    reader.each = each
    tried.for_end_of(Threaded(hangs), lambda: "postgresql", refuse)
    assert reader.turns == 2


def test_what_hung_and_has_ended_keeps_no_batch_from_being_waited_for() -> None:
    """A revocation may be served in the very poll during which the answer comes."""
    now, waited = [0.0], list[bool]()
    reader, hangs, after = Reader(), Future[None](), Future[None]()
    foreign: Any = reader
    tried = Waiting(foreign, Health(60), threading.Event(), 1.0, lambda: now[0])

    class Watched(Threaded[None]):
        """Says that it is waited for."""

        def wait(self, seconds: float | None = None) -> bool:
            """Wait no longer than for a look."""
            waited.append(True)
            return super().wait(min(seconds or 0.0, 0.0))

    def each(turn: int) -> None:
        now[0] += 50
        if turn == 2:
            tried.before_revocation([Watched(after)])
            assert waited == [], "what hangs is not waited for"
            hangs.set_result(None)
            tried.before_revocation([Watched(after)])

    reader.each = each
    tried.for_end_of(Threaded(hangs), lambda: "postgresql", refuse)
    assert waited == [True]


def test_at_the_start_a_server_that_heals_is_waited_for_and_no_other() -> None:
    full = psycopg.OperationalError("FATAL:  sorry, too many clients already")
    refused = psycopg.OperationalError("Connection refused")
    health = Health(60)
    heals: Any = Ledger(full, psycopg.errors.ReadOnlySqlTransaction(), None)
    reach(heals)
    assert first_answer(heals, health, threading.Event(), 0.01)
    assert health.missing is None
    never: Any = Ledger(refused)
    with pytest.raises(psycopg.OperationalError):
        reach(never)
    stopped = threading.Event()
    stopped.set()
    away: Any = Ledger(full, full)
    assert not first_answer(away, health, stopped, 0.01)
    assert health.missing == "postgresql"


def refusals(*errors: KafkaError | None) -> Callable[[], str]:
    """Makes clients: refused so, one time after the other."""
    left = iter(errors)

    def make() -> str:
        error = next(left)
        if error is not None:
            raise KafkaException(error)
        return "made"

    return make


LOADING = KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS, "loading", retriable=True)
REFUSED = KafkaError(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "refused")


def test_at_the_start_brokers_that_answer_are_waited_for_and_no_others() -> None:
    health, goes_on = Health(60), threading.Event()
    made = first_clients(refusals(LOADING, LOADING, None), lambda: True, health, goes_on, 0.01)
    assert made == "made"
    assert health.missing is None
    with pytest.raises(KafkaException):
        first_clients(refusals(LOADING, None), lambda: False, health, goes_on, 0.01)
    with pytest.raises(KafkaException):
        first_clients(refusals(REFUSED, None), lambda: True, health, goes_on, 0.01)
    stopped = threading.Event()
    stopped.set()
    assert first_clients(refusals(LOADING, None), lambda: True, health, stopped, 0.01) is None
    assert health.missing == "kafka"
