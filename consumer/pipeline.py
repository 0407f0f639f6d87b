"""The pipeline: one batch is written and published while the loop reads the next.

A batch ends in one of two ways: committed, with its offsets; or given up, and then nobody but the
group's committed offsets knows whether its Kafka transaction took effect.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from charging.outcomes import Decided, Outcome
from consumer import metrics
from consumer.assignment import Assignment
from consumer.health import Health
from consumer.limit import ReleaseCheck
from consumer.observer import Observer
from consumer.offsets import Offsets, first_offsets
from consumer.outside import Events, Ledger, Work
from consumer.placement import Placement
from consumer.publisher import PublishError
from consumer.waiting import Waiting
from consumer.worker import Worker
from ledger.gap import LedgerBehindError, Published
from ledger.healing import LedgerError, heals
from schemas.record import Record

_Ended: TypeAlias = tuple[list[Outcome], PublishError | None]


@dataclass(frozen=True, slots=True)
class _Flight:
    """A batch that is being written and published."""

    records: list[Record]
    decided: list[Decided]
    published: list[Published]
    metadata: object
    revocations: int


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A batch that was given up: what is left to do, and to be found out.

    `begun` is false where it was only read. `failure` is what its Kafka transaction met, None where
    there was none. `outcomes` are what the ledger made of it.
    """

    records: list[Record]
    revocations: int
    begun: bool = True
    failure: PublishError | None = None
    outcomes: Sequence[Outcome] = ()


class Pipeline:
    """Holds one batch at most. Used by the loop's thread only; it works in the worker's.

    Args:
        ledger: is written first.
        events: are published then, with the offsets.
        offsets: remember what was published.
        limit: judges what the ledger refused.
        worker: has it done, while the loop goes on polling.
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
        worker: Worker,
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
        self._worker = worker
        self._waiting = waiting
        self._placement = placement
        self._assignment = assignment
        self._observer = observer
        self._health = health
        self._flight: _Flight | None = None
        self._committing: Work[_Ended] | None = None
        self._step = "postgresql"

    def begin(self, batch: list[Record], decided: list[Decided], metadata: object) -> None:
        """Have a batch written and published; the one before has ended.

        `metadata` is the group's at this moment: with an older one the broker refuses the offsets.
        """
        self._flight = _Flight(
            batch, decided, self._offsets.positions(batch), metadata, self._assignment.revocations
        )
        self._commit(self._flight)

    def _commit(self, flight: _Flight) -> Work[_Ended]:
        self._committing = self._worker.begin(partial(self._write_and_publish, flight))
        return self._committing

    def _write_and_publish(self, flight: _Flight) -> _Ended:
        self._step = "postgresql"
        with metrics.BATCH_SECONDS.labels("write").time():
            outcomes = self._ledger.write(flight.decided, flight.published)
        self._limit.check_written(outcomes)
        self._step = "kafka"
        try:
            with metrics.BATCH_SECONDS.labels("publish").time():
                self._events.publish(outcomes, flight.metadata)
        except PublishError as failure:
            return outcomes, failure
        # At once: who sees the committed offsets shall find the records counted.
        self._observer.count(outcomes)
        return outcomes, None

    def end(self, ahead: Sequence[Record] = ()) -> GivenUp | None:
        """Bring the batch in hand to its end; None where it was committed, or there is none.

        `ahead` are records that were read meanwhile. Raises what does not heal.
        """
        flight, self._flight = self._flight, None
        if flight is None:
            return None
        for attempt in itertools.count(1):
            committing = self._committing or self._commit(flight)
            try:
                outcomes, failure = self._worker.end_of(committing, lambda: self._step)
                break
            except LedgerError as error:
                if not heals(error):
                    raise
                self._waiting.out("postgresql", error, attempt)
            except LedgerBehindError:
                self._offsets.doubted = True
                self._placement.ensure(first_offsets([*flight.records, *ahead]))
                flight = replace(flight, published=self._offsets.positions(flight.records))
            finally:
                self._committing = None
            if self._waiting.to_stop or flight.revocations != self._assignment.revocations:
                return GivenUp(flight.records, flight.revocations)
        if failure is not None:
            return GivenUp(flight.records, flight.revocations, failure=failure, outcomes=outcomes)
        self._offsets.published(flight.records)
        self._health.progressed()
        return None

    def took_effect(self, given_up: GivenUp) -> bool:
        """Say whether the transaction of a batch took effect, and count the batch if it did.

        After the group's offsets were asked for anew. False where partitions were taken away since,
        whose next owner counts what it finds.
        """
        if not given_up.outcomes or given_up.revocations != self._assignment.revocations:
            return False
        for place, begun in first_offsets(given_up.records).items():
            committed = self._offsets.committed_at(place)
            if committed is None or committed <= begun:
                return False
        self._observer.count(given_up.outcomes)
        return True

    def before_revocation(self) -> None:
        """Give the batch in hand time: what is committed before partitions go is this member's."""
        if self._committing is not None:
            self._waiting.before_revocation(self._committing)
