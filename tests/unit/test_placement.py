"""What comes before a batch: the ledger is asked beside the loop, and the group does not wait."""

import threading
from collections.abc import Callable, Collection
from typing import Any

import psycopg
import pytest
from confluent_kafka import KafkaError, KafkaException

from consumer import continuity
from consumer.asking import Ask, RevokedError
from consumer.continuity import Continuity
from consumer.health import Health
from consumer.outside import RealMachine
from consumer.placement import Placement
from consumer.waiting import Waiting
from consumer.worker import Worker
from ledger.gap import Gap, Known
from tests.doubles.asking import at_once

PLACE = ("topic", 3)
GAP = Gap(*PLACE, "here", 8, 8, 11, "behind")
COMMITTED = 11


class Reader:
    """Polls; here nothing comes of it."""

    def idle(self) -> None:
        """One turn."""

    def resume(self) -> None:
        """Read on."""


class Group:
    """Partitions of this member, and what became of them."""

    def __init__(self) -> None:
        self.places = {PLACE}
        self.revocations = 0
        self.positioned = 0
        self.asked: Callable[[], None] = lambda: None

    def place(self, _: object, __: Ask) -> None:
        """Nothing to do."""

    def position(self, _: object, ask: Ask, __: Collection[object]) -> None:
        """Ask where to read on, and do so."""
        ask(self.asked)
        self.positioned += 1


class Gaps:
    """What the ledger lacks, one answer after the other."""

    def __init__(self, *answers: list[Gap] | Exception) -> None:
        self.doubts = False
        self.closed: list[Gap] = []
        self.interrupted = False
        self._answers = list(answers)

    def gaps(self, _: object, __: object) -> list[Gap]:
        """The next answer."""
        answer = self._answers.pop(0) if self._answers else []
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self, gaps: list[Gap]) -> None:
        """Close them."""
        self.closed += gaps

    def interrupt(self) -> None:
        """Stop closing."""
        self.interrupted = True

    def resume(self) -> None:
        """Nothing to do."""

    def waits_for(self) -> str:
        """The ledger."""
        return "ledger"


def placed(group: Group, gaps: Gaps, health: Health | None = None) -> Placement:
    """What is tried."""
    foreign: Any = Reader()
    found: Any = group
    lacking: Any = gaps
    client: Any = None
    judge, stop = health or Health(60), threading.Event()
    waiting = Waiting(foreign, judge, stop, 0.01)
    return Placement(
        client,
        found,
        lacking,
        judge,
        stop=stop,
        worker=Worker(waiting, stop.set, RealMachine().thread("worker")),
        waiting=waiting,
    )


def test_what_is_lacking_is_closed_before_anything_is_read() -> None:
    group, gaps = Group(), Gaps([GAP])
    placed(group, gaps).ensure(())
    assert gaps.closed == [GAP]
    assert group.positioned == 1


@pytest.mark.parametrize(
    "error",
    [
        psycopg.errors.ReadOnlySqlTransaction("a standby"),
        psycopg.errors.DiskFull("full"),
        psycopg.OperationalError("no connection"),
        KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE)),
    ],
)
def test_what_heals_is_waited_out(error: Exception) -> None:
    group, gaps, health = Group(), Gaps(error, [GAP], error), Health(60)
    placed(group, gaps, health).ensure(())
    assert gaps.closed == [GAP]
    assert group.positioned == 1


def test_what_does_not_heal_ends_the_consumer() -> None:
    with pytest.raises(psycopg.errors.UndefinedTable):
        placed(Group(), Gaps(psycopg.errors.UndefinedTable("no table"))).ensure(())


def test_no_partition_is_read_from_an_answer_that_came_after_it_was_taken_away() -> None:
    group = Group()
    answers = iter([1, 1, 0])

    def asked() -> None:
        # Somebody else had the partition while the ledger was asked.
        group.revocations += next(answers)

    group.asked = asked
    placed(group, Gaps()).ensure(())
    assert group.positioned == 1
    assert list(answers) == []


class Doubted:
    """The group's offsets; both a ledger and Kafka stand behind them."""

    group = "group"

    def __init__(self) -> None:
        self.doubted = True
        self.given: dict[object, bool] = {}
        self.topics = self

    def learn(self, _: object, __: Ask) -> None:
        """Nothing to learn."""

    def comparable(self, places: Collection[object]) -> dict[object, tuple[str, int]]:
        """All of them."""
        return dict.fromkeys(places, ("here", COMMITTED))

    def looked_at(self, *_: object) -> None:
        """None of them is older."""

    def cut(self, *_: object) -> set[object]:
        """No log was cut."""
        return set()

    def ends(self, places: Collection[object]) -> tuple[dict[object, int], dict[object, int]]:
        """Everything is there."""
        return dict.fromkeys(places, 0), dict.fromkeys(places, COMMITTED)


class Ledger:
    """Knows so much of each partition."""

    def __init__(self, known: int) -> None:
        self._known = known

    def known(self, _: str, places: Collection[object]) -> dict[object, Known]:
        """What it knows."""
        return dict.fromkeys(places, Known("here", self._known, self._known))


def comparing(offsets: Doubted, known: int) -> Continuity:
    """What is tried."""
    foreign: Any = offsets
    ledger: Any = Ledger(known)
    rules: Any = None
    return Continuity(rules, ledger, foreign, threading.Event())


@pytest.mark.parametrize(("known", "lacks"), [(COMMITTED, False), (8, True)])
def test_a_ledger_is_doubted_until_it_lacks_nothing(known: int, *, lacks: bool) -> None:
    offsets = Doubted()
    tried = comparing(offsets, known)
    assert bool(tried.gaps({PLACE}, at_once)) is lacks
    assert offsets.doubted is tried.doubts is lacks


def test_a_ledger_is_compared_again_where_partitions_came_or_left_meanwhile() -> None:
    offsets = Doubted()

    def gained(work: Callable[[], Any], _: str = "", /) -> Any:  # noqa: ANN401 - any answer
        offsets.doubted = True
        return work()

    def lost(_: Callable[[], Any], __: str = "", /) -> Any:  # noqa: ANN401 - any answer
        raise RevokedError

    tried = comparing(offsets, COMMITTED)
    assert tried.gaps({PLACE}, gained) == []
    assert tried.doubts
    with pytest.raises(RevokedError):
        tried.gaps({PLACE}, lost)
    assert tried.doubts


def test_a_commit_that_hangs_while_a_gap_is_closed_is_postgresqls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(continuity, "_HANGS_SECONDS", -1.0)
    said: list[str] = []

    class Hanging(Ledger):
        def remember(self, _: object) -> None:
            said.append(tried.waits_for())

    offsets: Any = Doubted()
    ledger: Any = Hanging(8)
    rules: Any = None
    tried = Continuity(rules, ledger, offsets, threading.Event())
    assert tried.waits_for() == "ledger"
    tried.close([Gap(*PLACE, "here", 11, 11, 11, "behind")])
    assert said == ["postgresql"]
    assert tried.waits_for() == "ledger"
