"""The pipeline: one batch is published and the next one written while the loop decides a third.

Batches are written in their order, and published in their order; after one that failed nothing is.
The oldest one ends first, in one of two ways: committed, with its offsets; or given up, and then
nobody but the group's committed offsets knows whether its Kafka transaction took effect. With it
those after it are given up, of which nothing is published.
"""

import itertools
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from typing import Any

from charging.outcomes import Decided, Outcome, Parked
from consumer import metrics
from consumer.assignment import Assignment
from consumer.extent import Extent
from consumer.health import Health
from consumer.limit import ReleaseCheck
from consumer.observer import Observer
from consumer.offsets import Offsets
from consumer.outside import Events, Ledger, Work
from consumer.placement import Placement
from consumer.publisher import PublishError
from consumer.start import Place
from consumer.waiting import Waiting
from consumer.worker import FollowsFailureError, Stage, Worker
from ledger.gap import LedgerBehindError, Published
from ledger.healing import LedgerError, heals
from runtime.metrics import RETRIES


class _InHand:
    """A batch that was begun and has not ended.

    `publishing` is there as soon as `writing` has ended well.
    """

    def __init__(
        self, decided: list[Decided], extent: Extent, metadata: object, revocations: int
    ) -> None:
        self.decided = decided
        self.extent = extent
        self.metadata = metadata
        self.revocations = revocations
        self.left: set[Place] = set()
        self.published: list[Published] = []
        self.writing: Work[list[Outcome]]
        self.publishing: Work[None] | None = None


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Batches that were given up: what is left to do, and to be found out.

    `extent` is of the oldest one, `failure` what its Kafka transaction met, None where there was
    none, and `outcomes` what the ledger made of it. Nothing of the others is published.
    """

    extent: Extent
    revocations: int
    batches: int = 1
    failure: PublishError | None = None
    outcomes: Sequence[Outcome] = ()


class Pipeline:
    """Holds two batches at most. Used by the loop's thread only; it works in two others.

    Args:
        ledger: is written first.
        events: are published then, with the offsets.
        offsets: remember what was published.
        limit: judges what the ledger refused.
        writer: has a batch written, while the loop goes on polling.
        publisher: has a batch published.
        waiting: waits out a failure that may heal, and tells when the loop is to stop.
        placement: repairs a ledger that knows too little.
        assignment: says which partitions were taken away.
        observer: counts what was committed.
        health: told that work advances.
    """

    def __init__(
        self,
        ledger: Ledger,
        events: Events,
        *,
        offsets: Offsets,
        limit: ReleaseCheck,
        writer: Worker,
        publisher: Worker,
        waiting: Waiting,
        placement: Placement,
        assignment: Assignment,
        observer: Observer,
        health: Health,
    ) -> None:
        self._ledger = ledger
        self._events = events
        self._offsets = offsets
        self._limit = limit
        self._writer = writer
        self._publisher = publisher
        self._waiting = waiting
        self._placement = placement
        self._assignment = assignment
        self._observer = observer
        self._health = health
        self._in_hand: deque[_InHand] = deque()
        """The oldest first."""
        self._writing, self._publishing = Stage(writer), Stage(publisher)

    @property
    def places(self) -> set[Place]:
        """The partitions of the batches in hand."""
        return {place for one in self._in_hand for place in one.extent.first}

    # In the loop's thread

    def begin(self, decided: list[Decided], extent: Extent, metadata: object) -> GivenUp | None:
        """Have a batch written, and published then; `advance` has made room for it.

        Returns when the batch before it is written, and its bytes are freed for one more to be
        read; otherwise as `advance`. `metadata` is the group's at this moment: with an older one
        the broker refuses the offsets.
        """
        extent = replace(extent, set_back=self._offsets.set_back)
        one = _InHand(decided, extent, metadata, self._assignment.revocations)
        self._in_hand.append(one)
        one.published = self._positions(one)
        self._begin_writing(one)
        oldest = self._in_hand[0]
        if oldest is not one and self._written(oldest, ()) is None:
            return self._give_up()
        return None

    def _positions(self, one: _InHand) -> list[Published]:
        before = takewhile(lambda other: other is not one, self._in_hand)
        return self._offsets.positions(one.extent, [other.extent for other in before])

    def _begin_writing(self, one: _InHand) -> None:
        # With the positions of before at every try: partitions that came meanwhile have made the
        # ids of topics doubtful, and without an id no position would be compared.
        one.writing = self._writing.begin(partial(self._write, one))

    def advance(self, ahead: Collection[Place]) -> GivenUp | None:
        """Make room for a batch: one at most is in hand then.

        `ahead` are the partitions of the batch to come. Without any, nothing is in hand afterwards.
        Returns what was given up; nothing is in hand in that case either. Raises what does not
        heal.
        """
        while len(self._in_hand) > (1 if ahead else 0):
            if given_up := self._end_oldest(ahead):
                return given_up
        return None

    def end(self) -> GivenUp | None:
        """Bring all batches in hand to their end. Otherwise as `advance`."""
        return self.advance(())

    def _end_oldest(self, ahead: Collection[Place]) -> GivenUp | None:
        """Bring the oldest batch to its end; None where it was committed."""
        one = self._in_hand[0]
        outcomes = self._written(one, ahead)
        if outcomes is None or one.publishing is None:
            return self._give_up()
        try:
            self._publisher.end_of(one.publishing, "kafka")
        except PublishError as failure:
            return self._give_up(failure, outcomes)
        self._in_hand.popleft()
        self._offsets.published(one.extent.without(one.left))
        self._limit.committed()
        self._health.progressed()
        return None

    def _written(self, one: _InHand, ahead: Collection[Place]) -> list[Outcome] | None:
        """Wait until the oldest batch is written; None where it is to be given up."""
        for attempt in itertools.count(1):
            try:
                return self._writer.end_of(one.writing)
            except LedgerError as error:
                if not heals(error):
                    raise
                self._waiting.out("postgresql", error, attempt)
            except LedgerBehindError:
                self._offsets.doubted = True
                self._placement.ensure(self.places.union(ahead))
                if self.places & self._offsets.former_log:
                    # Nobody can say what comes before this batch.
                    return None
                for each in self._in_hand:
                    each.published = self._positions(each)
            if self._waiting.to_stop or one.revocations != self._assignment.revocations:
                return None
            self._write_again()
        raise AssertionError

    def _write_again(self) -> None:
        """Have all batches in hand written, in order: the oldest failed, so none of them is."""
        for other in list(self._in_hand)[1:]:
            other.writing.wait()
        self._writing.resume()
        for one in self._in_hand:
            self._begin_writing(one)

    def _give_up(
        self, failure: PublishError | None = None, outcomes: Sequence[Outcome] = ()
    ) -> GivenUp:
        """Give up all batches in hand. Nothing is done for any of them afterwards."""
        oldest, *others = self._in_hand
        for other in others:
            self._wait_for(other)
        given_up = GivenUp(oldest.extent, oldest.revocations, len(self._in_hand), failure, outcomes)
        self._in_hand.clear()
        self._writing.resume()
        self._publishing.resume()
        return given_up

    def _wait_for(self, one: _InHand) -> None:
        """Wait until nothing is done for a batch; its records are read again, whatever it meets."""
        try:
            self._writer.end_of(one.writing)
            if one.publishing is not None:
                self._publisher.end_of(one.publishing, "kafka")
        except FollowsFailureError:
            return
        except LedgerError as error:
            if not heals(error):
                raise
            RETRIES.labels("postgresql").inc()
        except LedgerBehindError:
            self._offsets.doubted = True

    def took_effect(self, given_up: GivenUp) -> bool:
        """Say whether the oldest transaction took effect, and count its batch if it did.

        After the group's offsets were asked for anew. False where partitions were taken away since,
        whose next owner counts what it finds.
        """
        if not given_up.outcomes or given_up.revocations != self._assignment.revocations:
            return False
        for place, begun in given_up.extent.first.items():
            committed = self._offsets.committed_at(place)
            if committed is None or committed <= begun:
                return False
        self._observer.count(given_up.outcomes, given_up.extent)
        self._limit.committed()
        return True

    def before_revocation(self) -> None:
        """Give batches in hand time: what is committed before partitions go is this member's."""
        self._waiting.before_revocation(self._works())

    def left(self, places: Collection[Place]) -> None:
        """Have nothing noted of partitions that are another member's now, which may read again."""
        for one in self._in_hand:
            one.left.update(places)

    def _works(self) -> Iterator[Work[Any]]:
        for one in self._in_hand:
            yield one.writing
            if one.publishing is not None:
                yield one.publishing

    # In the writer's thread

    def _write(self, one: _InHand) -> list[Outcome]:
        with metrics.BATCH_SECONDS.labels("write").time():
            outcomes = self._ledger.write(one.decided, one.published)
        self._limit.check_written(outcomes)
        one.publishing = self._publishing.begin(partial(self._publish, one, outcomes))
        return outcomes

    # In the publisher's thread

    def _publish(self, one: _InHand, outcomes: Sequence[Outcome]) -> None:
        with metrics.BATCH_SECONDS.labels("publish").time():
            _drop_values(outcomes)
            self._events.publish(outcomes, one.extent, one.metadata)
        # At once: who sees the committed offsets shall find the records counted.
        self._observer.count(outcomes, one.extent)


def _drop_values(outcomes: Sequence[Outcome]) -> None:
    """Free the bytes of what is written, as a third batch is read; dead letters keep theirs."""
    for outcome in outcomes:
        if not isinstance(outcome.decided.decision, Parked):
            outcome.decided.record.drop_value()
