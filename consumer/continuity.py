"""Continuity: the ledger knows at least what the group has committed, or it is repaired.

A fail-over to a standby that was behind, a restored backup, a server that did not wait for its
disk and a wrong database look the same from here: the ledger knows less than it had said.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, Literal

import structlog

from charging.outcomes import Decided, OutcomeKind
from consumer import metrics
from consumer.asking import Ask
from consumer.extent import Extent
from consumer.offsets import Offsets
from consumer.outside import Decide, Ledger
from consumer.start import Place
from ledger.gap import Gap, Known, Published, gap, knows, published_before
from ledger.positions import Move
from schemas.record import Record

log = structlog.get_logger("consumer")

_HANGS_SECONDS: Final = 5.0
_WRITTEN: Final = frozenset({OutcomeKind.CREATED, OutcomeKind.DEFERRED, OutcomeKind.CONFLICT})


class Continuity:
    """Finds gaps and closes them. `close` may run in another thread than the rest, alone.

    Args:
        decide: by which records are decided again.
        ledger: repaired.
        offsets: know what the group has committed, and whether the ledger is to be compared.
        stop: set when nothing more is to be begun.
        now: a clock, seconds.
    """

    def __init__(
        self,
        decide: Decide,
        ledger: Ledger,
        offsets: Offsets,
        stop: threading.Event,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._decide = decide
        self._now = now
        self._ledger = ledger
        self._offsets = offsets
        self._told: dict[Place, int] = {}
        self._interrupted = threading.Event()
        self._stop = stop
        self._asked_at = math.inf

    def gaps(self, places: Collection[Place], ask: Ask) -> list[Gap]:
        """Return what the ledger lacks of these partitions; nothing unless it is doubted.

        It stays doubted where something is lacking, and where partitions came while it was asked.
        Raises `KafkaException` where Kafka is away, and what `ask` raises.
        """
        if not self._offsets.doubted:
            return []
        self._offsets.learn({topic for topic, _ in places}, ask)
        self._offsets.doubted = False
        try:
            found = self._compare(places, ask)
        except BaseException:
            self._offsets.doubted = True
            raise
        self._tell(found)
        if found:
            self._offsets.doubted = True
        return found

    def _compare(self, places: Collection[Place], ask: Ask) -> list[Gap]:
        claims = self._offsets.comparable(places)
        if not claims:
            return []
        known = ask(partial(self._ledger.known, self._offsets.group, claims))
        self._look_back(claims, known, ask)
        lacking = [
            place
            for place, (topic_id, committed) in claims.items()
            if not knows(known.get(place), topic_id, committed)
        ]
        found: list[Gap] = []
        lows, highs = (
            ask(partial(self._offsets.topics.ends, lacking), "kafka") if lacking else ({}, {})
        )
        beyond = {place for place in lacking if claims[place][1] > highs[place]}
        # A ledger that knows nothing of the topic is not one whose position went back.
        cut = self._offsets.cut(
            {at for at in lacking if at in known and known[at].topic_id == claims[at][0]} - beyond,
            ask,
        )
        for place in lacking:
            topic_id, committed = claims[place]
            if place in beyond | cut:
                self._offsets.says_nothing(place)
            elif one := gap(place, known.get(place), topic_id, committed, lows[place]):
                found.append(one)
        return found

    def _look_back(
        self, claims: Mapping[Place, tuple[str, int]], known: Mapping[Place, Known], ask: Ask
    ) -> None:
        """Note where Kafka has given older offsets than the group had: docs/decisions/0011.

        Looked at once when they are given: later the ledger may know of another member's work.
        """
        given = {place: ours for place, ours in self._offsets.given.items() if place in claims}
        older = {
            place: end
            for place in given
            if (end := published_before(known.get(place), *claims[place]))
        }
        if older:
            # Kafka may have deleted all that was between the two.
            lows, _ = ask(partial(self._offsets.topics.ends, list(older)), "kafka")
            older = {place: end for place, end in older.items() if end > lows[place]}
        by_kafka = {place: end for place, end in older.items() if given[place]}
        by_person = {place: end for place, end in older.items() if not given[place]}
        self._offsets.looked_at(given, by_person)
        _tell_older("went_back", by_kafka, claims)
        _tell_older("set_back", by_person, claims)

    def _tell(self, found: Sequence[Gap]) -> None:
        """Say and count each gap once, however often it is begun again."""
        for one in found:
            place = (one.topic, one.partition)
            untold = one.end - max(one.since, self._told.get(place, 0))
            if untold <= 0:
                continue
            self._told[place] = one.end
            former = one.cause == "former_release"
            if not former:
                metrics.BEHIND.labels(one.cause).inc(untold)
            (log.warning if former else log.error)(
                "the ledger knows less than the group has committed",
                cause=one.cause,
                topic=one.topic,
                partition=one.partition,
                ledger=one.since,
                committed=one.end,
                records=one.end - one.since,
                gone=one.gone,
            )
        if not found:
            self._told.clear()

    @property
    def doubts(self) -> bool:
        """Whether the ledger is to be compared."""
        return self._offsets.doubted

    def waits_for(self) -> str:
        """Return what `close` waits for: a commit that hangs, or until all of it is written."""
        hangs = self._now() - self._asked_at > _HANGS_SECONDS
        return "postgresql" if hangs else "ledger"

    def interrupt(self) -> None:
        """Have `close` end soon; what it has written stays."""
        self._interrupted.set()

    def resume(self) -> None:
        """Let the next `close` run."""
        self._interrupted.clear()

    def close(self, gaps: Sequence[Gap]) -> None:
        """Write again what the ledger lacks; publish nothing of it, as subscribers have had it.

        Ends early when it is interrupted. Raises `KafkaException`, and what the ledger raises, a
        `LedgerBehindError` where it was put back once more; called again with what is lacking then,
        it goes on.
        """
        for one in gaps:
            if not self._ends():
                self._close(one)

    def _ends(self) -> bool:
        return self._interrupted.is_set() or self._stop.is_set()

    def _close(self, one: Gap) -> None:
        if one.gone and not self._give_up(one):
            return
        outcomes, written = Counter[OutcomeKind](), one.first
        if one.first < one.end:
            place = (one.topic, one.partition)
            for batch in self._offsets.topics.read(place, one.first, one.end, self._ends):
                [end] = Extent.of(batch).end.values()
                outcomes += self._write(batch, self._published(one, end, written))
                written = end
        if whole := not self._ends():
            # Behind the last record there may be markers of transactions.
            with self._waiting():
                self._ledger.remember([self._published(one, one.end, written)])
        if one.cause == "former_release":
            # Nothing is amiss unless something had to be written.
            new = sum(outcomes[outcome] for outcome in _WRITTEN)
            metrics.BEHIND.labels(one.cause).inc(new)
        log.info(
            "written again",
            topic=one.topic,
            partition=one.partition,
            outcomes={str(outcome): count for outcome, count in outcomes.items()},
            whole=whole,
        )

    def _give_up(self, one: Gap) -> bool:
        """Write down what Kafka has no longer; False where the ledger has changed meanwhile."""
        move = Move(
            one.topic, one.partition, one.topic_id, one.first, one.seen, one.since, "ledger_lost"
        )
        with self._waiting():
            moved = self._ledger.move(self._offsets.group, [move])
        metrics.LEDGER_LOST.inc(sum(each.lost for each in moved))
        return bool(moved)

    def _write(self, batch: Sequence[Record], published: Published) -> Counter[OutcomeKind]:
        decided = [Decided(record, self._decide(record)) for record in batch]
        with self._waiting():
            written = self._ledger.write(decided, [published])
        outcomes = Counter(each.outcome for each in written)
        for outcome, count in outcomes.items():
            metrics.REWRITTEN.labels(outcome).inc(count)
        return outcomes

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        self._asked_at = self._now()
        try:
            yield
        finally:
            self._asked_at = math.inf

    def _published(self, one: Gap, offset: int, written: int) -> Published:
        """Up to `offset`, in a ledger that knows what was `written` before: it may be put back."""
        place = (one.topic, one.partition, one.topic_id)
        return Published(self._offsets.group, *place, offset, offset, written)


def _tell_older(
    reset: Literal["went_back", "set_back"],
    published: Mapping[Place, int],
    claims: Mapping[Place, tuple[str, int]],
) -> None:
    if not published:
        return
    metrics.OFFSET_RESETS.labels(reset).inc(len(published))
    level = log.error if reset == "went_back" else log.info
    level(
        "the group has older offsets than it had committed",
        reset=reset,
        committed={f"{topic}/{part}": claims[topic, part][1] for topic, part in sorted(published)},
        published={f"{topic}/{part}": end for (topic, part), end in sorted(published.items())},
    )
