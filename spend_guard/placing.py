"""Placing: asks that come while a statement is in flight share the next one.

Those whose account another transaction has wait aside, so that nobody else waits for that one.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Final

from ledger.admission import Answer, Ask
from ledger.holds import Unknown
from spend_guard import metrics
from spend_guard.books import AwayError, Books, HoldBooks, LockedError

AWAY: Final = "away"
BUSY: Final = "busy"
LOCKED: Final = "locked"
_OF_THE_TIME: Final = 0.6
"""Of the time that somebody waits for an answer: the rest is for the statement and the way back."""


class BusyError(Exception):
    """Too many asks wait, or this one has waited for too long; nothing is held for it."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many statements are in flight, how many asks each has and how many wait, how long."""

    lanes: int
    batch: int
    waiting: int
    seconds: float


@dataclass(slots=True)
class _Waiting:
    ask: Ask
    until: float
    answer: asyncio.Future[Answer]
    taken: bool = False
    locked: str | None = None
    """The account that another transaction had."""
    over: bool = False
    """Whether it has waited for as long as it may."""

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)

    def late(self) -> None:
        """Fail, unless a statement is about to answer."""
        self.over = True
        if not self.taken:
            self.fail(LockedError() if self.locked is not None else BusyError())


class _Line:
    """Asks that wait for their turn, and the lanes that answer them, a batch after the other."""

    def __init__(
        self,
        answer: Callable[[Sequence[_Waiting]], Awaitable[None]],
        lanes: int,
        batch: int,
        clock: Callable[[], float],
    ) -> None:
        self.waiting = deque[_Waiting]()
        self._answer = answer
        self._most = lanes
        self._batch = batch
        self._clock = clock
        self._lanes = set[asyncio.Task[None]]()
        self._open = 0

    def join(self, one: _Waiting) -> None:
        """Let an ask wait behind the others, and open a lane where there is room for one."""
        one.taken = False
        self.waiting.append(one)
        if self._open < self._most:
            self._open += 1
            lane = asyncio.create_task(self._lane())
            # A loop holds its tasks weakly.
            self._lanes.add(lane)
            lane.add_done_callback(self._lanes.discard)

    async def _lane(self) -> None:
        try:
            while batch := self._taken():
                await self._answer(batch)
        finally:
            # Before anybody is told: whoever asks then opens another one.
            self._open -= 1

    def _taken(self) -> list[_Waiting]:
        """Return what waits, up to a batch; who has waited for too long is refused."""
        batch, now = list[_Waiting](), self._clock()
        while self.waiting and len(batch) < self._batch:
            one = self.waiting.popleft()
            if one.until < now:
                one.late()
            elif not one.answer.done():
                one.taken = True
                batch.append(one)
        return batch


class Placing:
    """Answers asks, in batches, in the order in which they came. For one event loop.

    `aside` are the books for those whose account was locked: they have a connection of their own.
    """

    def __init__(
        self,
        books: Books[HoldBooks],
        aside: Books[HoldBooks],
        unknown: Unknown,
        bounds: Bounds,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._unknown: Unknown = unknown
        self._bounds = bounds
        self._clock = clock
        self._first = _Line(partial(self._answer, books), bounds.lanes, bounds.batch, clock)
        self._aside = _Line(partial(self._answer_aside, aside), 1, bounds.batch, clock)
        self._locked = Counter[str]()

    async def place(self, ask: Ask, within: float | None = None) -> Answer:
        """Return the answer to an ask that somebody waits for, for `within` seconds.

        Raises `BusyError`, `LockedError` and `AwayError`.
        """
        began = self._clock()
        try:
            answer = await self._placed(ask, began, within)
        except BusyError:
            metrics.HOLDS.labels(BUSY).inc()
            raise
        except LockedError:
            metrics.HOLDS.labels(LOCKED).inc()
            raise
        except AwayError:
            metrics.HOLDS.labels(AWAY).inc()
            raise
        metrics.HOLDS.labels(answer.answer).inc()
        metrics.PLACE_SECONDS.observe(self._clock() - began)
        return answer

    async def _placed(self, ask: Ask, began: float, within: float | None) -> Answer:
        if self._count() >= self._bounds.waiting:
            raise BusyError
        loop = asyncio.get_running_loop()
        seconds = self._bounds.seconds
        if within is not None:
            seconds = min(seconds, within * _OF_THE_TIME)
        one = _Waiting(ask, began + seconds, loop.create_future())
        # The statements in flight may hang, and then nobody looks at what waits.
        ending = loop.call_later(seconds, one.late)
        self._first.join(one)
        metrics.WAITING.set(self._count())
        try:
            return await one.answer
        finally:
            ending.cancel()
            self._forget_locked(one)

    def _count(self) -> int:
        return len(self._first.waiting) + len(self._aside.waiting)

    async def _answer(self, books: Books[HoldBooks], batch: Sequence[_Waiting]) -> None:
        await self._answered(books, batch, frozenset(self._locked))

    async def _answer_aside(self, books: Books[HoldBooks], batch: Sequence[_Waiting]) -> None:
        await self._answered(books, batch, frozenset())

    async def _answered(
        self, books: Books[HoldBooks], batch: Sequence[_Waiting], locked: Collection[str]
    ) -> None:
        """Answer a batch; for accounts in `locked` nothing is tried."""
        metrics.BATCH_ASKS.observe(len(batch))
        metrics.WAITING.set(self._count())
        asks = [one.ask for one in batch]
        try:
            answers = await books.ask(partial(_place, asks, self._unknown, locked))
            for one, answer in zip(batch, answers, strict=True):
                self._tell(one, answer)
        except AwayError as error:
            for one in batch:
                one.fail(error)
        finally:
            # A defect of ours ends the lane, and nobody waits for it.
            for one in batch:
                if one.taken:
                    one.fail(AwayError())

    def _tell(self, one: _Waiting, answer: Answer) -> None:
        """Tell who asks, or let it wait aside."""
        if answer.answer != LOCKED:
            if not one.answer.done():
                one.answer.set_result(answer)
            return
        account = answer.account or one.ask.account
        if one.locked != account:
            self._forget_locked(one)
            self._locked[account] += 1
            one.locked = account
        if one.over or one.until < self._clock():
            one.fail(LockedError())
        elif not one.answer.done():
            self._aside.join(one)

    def _forget_locked(self, one: _Waiting) -> None:
        if one.locked is None:
            return
        self._locked[one.locked] -= 1
        if not self._locked[one.locked]:
            del self._locked[one.locked]
        one.locked = None


def _place(
    asks: Sequence[Ask], unknown: Unknown, locked: Collection[str], books: HoldBooks
) -> list[Answer]:
    return books.place(asks, unknown, locked)
