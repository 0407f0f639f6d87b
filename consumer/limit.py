"""The dead-letter limit: a bug or a bad release that meets good data stops, and floods nothing."""

from collections import deque
from collections.abc import Sequence

from consumer.record import Decided, Parked


class DeadLetterLimitError(Exception):
    """Too much was about to be parked. Nothing of the batch was written or committed."""


class DeadLetterLimit:
    """Watches how much is parked: by run length, and by share of the last records.

    `longest_run` parked records in a row, or more than `share` of the last `window` records, stop
    the consumer. The share is judged once the window is full. Not safe for threads.
    """

    def __init__(self, longest_run: int, share: float, window: int) -> None:
        self._longest_run = longest_run
        self._share = share
        self._window = window
        self._recent: deque[bool] = deque()
        self._parked = 0
        self._run = 0
        self._before = self._state()

    def admit(self, batch: Sequence[Decided]) -> None:
        """Take a decided batch into account. Raises `DeadLetterLimitError` before it is settled."""
        self._before = self._state()
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

    def withdraw(self) -> None:
        """Forget the latest batch: it was given up, and its records will be read again."""
        self._recent, self._parked, self._run = self._before

    def _state(self) -> tuple[deque[bool], int, int]:
        return self._recent.copy(), self._parked, self._run

    def _note(self, parked: bool) -> None:  # noqa: FBT001 - the one thing that is noted
        self._recent.append(parked)
        self._parked += parked
        self._run = self._run + 1 if parked else 0
        if len(self._recent) > self._window:
            self._parked -= self._recent.popleft()


def _where(decided: Decided) -> str:
    record = decided.record
    reason = decided.decision.reason if isinstance(decided.decision, Parked) else "not parked"
    return f"at {record.topic}/{record.partition} offset {record.offset} ({reason})"
