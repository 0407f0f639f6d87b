"""The dead-letter limit: a bad release that meets good data stops, and floods nothing.

Data cannot stop the consumer, whoever sends it and however much of it is bad: the limit only makes
the release show that it still reads and stores the sample.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

import structlog

from charging.outcomes import Decided, Decision, Outcome, OutcomeKind, Parked
from charging.sample import decided_sample
from consumer import metrics
from consumer.settings import Settings
from schemas.headers import Reason
from schemas.record import Record

log = structlog.get_logger("consumer")


LimitState: TypeAlias = tuple[deque[bool], int, int]


class DeadLetterLimitError(Exception):
    """Too much was about to be parked by a release that is at fault. Nothing was committed."""


class DeadLetterLimit:
    """Watches how much is parked: by run length, and by share of the last records.

    `longest_run` parked records in a row, or more than `share` of the last `window` records, are
    too much. The share is judged once the window is full. Not safe for threads.
    """

    def __init__(self, longest_run: int, share: float, window: int) -> None:
        self._longest_run = longest_run
        self._share = share
        self._window = window
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget everything."""
        self._recent: deque[bool] = deque()
        self._parked = 0
        self._run = 0

    def count(self, batch: Sequence[Decided]) -> None:
        """Take a decided batch into account. Raises `DeadLetterLimitError` before it is written."""
        for decided in batch:
            self._note(isinstance(decided.decision, Parked))
            if self._run >= self._longest_run:
                raise DeadLetterLimitError(
                    f"{self._run} records in a row would be parked, the last {_where(decided)}"
                )
            full = len(self._recent) == self._window
            if full and self._parked > self._share * self._window:
                raise DeadLetterLimitError(
                    f"{self._parked} of the last {self._window} records would be parked, "
                    f"the last {_where(decided)}"
                )

    def state(self) -> LimitState:
        """Return what has been counted so far, for `go_back_to`."""
        return self._recent.copy(), self._parked, self._run

    def go_back_to(self, state: LimitState) -> None:
        """Forget what was counted since."""
        self._recent, self._parked, self._run = state

    def _note(self, parked: bool) -> None:  # noqa: FBT001 - the one thing that is noted
        self._recent.append(parked)
        self._parked += parked
        self._run = self._run + 1 if parked else 0
        if len(self._recent) > self._window:
            self._parked -= self._recent.popleft()


class ReleaseCheck:
    """Lets batches pass unless the limit is reached and this release is at fault.

    Args:
        settings: say how much is too much; one limit watches what cannot be read, another one what
            cannot be stored.
        decide: the release's decision.
        stores: whether the ledger takes a decided record; it writes nothing.
    """

    def __init__(
        self,
        settings: Settings,
        decide: Callable[[Record], Decision],
        stores: Callable[[Decided], bool],
    ) -> None:
        self._unread, self._unstored = _limit(settings), _limit(settings)
        self._decide = decide
        self._stores = stores
        self._before: deque[LimitState] = deque()
        """Of each batch in hand, what had been counted before it; the oldest first."""

    def check(self, batch: Sequence[Decided]) -> None:
        """Judge a decided batch before it is written. Raises `DeadLetterLimitError`."""
        self._before.append(self._unread.state())
        self._judge("read", self._unread, batch, lambda _: True)

    def check_written(self, outcomes: Sequence[Outcome]) -> None:
        """Judge what the ledger refused before it is published. Raises `DeadLetterLimitError`."""
        if any(outcome.reason is Reason.UNSTORABLE for outcome in outcomes):
            stored = [
                outcome.decided
                for outcome in outcomes
                if outcome.reason is Reason.UNSTORABLE or outcome.outcome is not OutcomeKind.PARKED
            ]
            self._judge("store", self._unstored, stored, self._stores)

    def committed(self) -> None:
        """Note that the oldest batch in hand is committed: its records are not read again."""
        self._before.popleft()

    def withdraw(self) -> None:
        """Forget all batches in hand: they were given up, and their records will be read again.

        What was refused may then count twice: the sample is looked at the sooner.
        """
        if self._before:
            self._unread.go_back_to(self._before[0])
        self._before.clear()

    def _judge(
        self,
        what: str,
        limit: DeadLetterLimit,
        batch: Sequence[Decided],
        holds: Callable[[Decided], bool],
    ) -> None:
        try:
            limit.count(batch)
        except DeadLetterLimitError as reached:
            sample = decided_sample(self._decide)
            if sample is None or not holds(sample):
                raise
            limit.begin_anew()
            metrics.LIMIT_REACHED.labels(what).inc()
            log.warning("so many dead letters, and not by this release", detail=str(reached))


def _limit(settings: Settings) -> DeadLetterLimit:
    return DeadLetterLimit(
        settings.consumer_dead_letter_run,
        settings.consumer_dead_letter_share,
        settings.consumer_dead_letter_window,
    )


def _where(decided: Decided) -> str:
    record = decided.record
    reason = decided.decision.reason if isinstance(decided.decision, Parked) else "not parked"
    return f"at {record.topic}/{record.partition} offset {record.offset} ({reason})"
