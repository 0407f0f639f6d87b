"""Placing: asks that come while a statement is in flight share the next one."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Final

from ledger.admission import Answer, Ask
from ledger.holds import Unknown
from spend_guard import metrics
from spend_guard.books import AwayError, Books, HoldBooks

AWAY: Final = "away"
BUSY: Final = "busy"


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
    since: float
    answer: asyncio.Future[Answer]
    taken: bool = False


class Placing:
    """Answers asks, in batches, in the order in which they came. For one event loop."""

    def __init__(
        self,
        books: Books[HoldBooks],
        unknown: Unknown,
        bounds: Bounds,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._books = books
        self._unknown: Unknown = unknown
        self._bounds = bounds
        self._clock = clock
        self._waiting = deque[_Waiting]()
        self._lanes = set[asyncio.Task[None]]()
        self._open = 0

    async def place(self, ask: Ask) -> Answer:
        """Return the answer to an ask. Raises `BusyError` and `AwayError`."""
        began = self._clock()
        try:
            answer = await self._placed(ask, began)
        except BusyError:
            metrics.HOLDS.labels(BUSY).inc()
            raise
        except AwayError:
            metrics.HOLDS.labels(AWAY).inc()
            raise
        metrics.HOLDS.labels(answer.answer).inc()
        metrics.PLACE_SECONDS.observe(self._clock() - began)
        return answer

    async def _placed(self, ask: Ask, began: float) -> Answer:
        if len(self._waiting) >= self._bounds.waiting:
            raise BusyError
        loop = asyncio.get_running_loop()
        one = _Waiting(ask, began, loop.create_future())
        self._waiting.append(one)
        # The statements in flight may hang, and then nobody looks at what waits.
        ending = loop.call_later(self._bounds.seconds, _late, one)
        metrics.WAITING.set(len(self._waiting))
        if self._open < self._bounds.lanes:
            self._open += 1
            lane = asyncio.create_task(self._lane())
            # A loop holds its tasks weakly.
            self._lanes.add(lane)
            lane.add_done_callback(self._lanes.discard)
        try:
            return await one.answer
        finally:
            ending.cancel()

    async def _lane(self) -> None:
        try:
            while batch := self._taken():
                await self._answer(batch)
        finally:
            # Before anybody is told: whoever asks then opens another one.
            self._open -= 1

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        metrics.BATCH_ASKS.observe(len(batch))
        asks = [one.ask for one in batch]
        try:
            answers = await self._books.ask(partial(_place, asks, self._unknown))
            for one, answer in zip(batch, answers, strict=True):
                if not one.answer.done():
                    one.answer.set_result(answer)
        except AwayError as error:
            for one in batch:
                _fail(one, error)
        finally:
            # A defect of ours ends the lane, and nobody waits for it.
            for one in batch:
                _fail(one, AwayError())

    def _taken(self) -> list[_Waiting]:
        """Return what waits, up to a batch; who has waited for too long is refused."""
        batch, oldest = list[_Waiting](), self._clock() - self._bounds.seconds
        while self._waiting and len(batch) < self._bounds.batch:
            one = self._waiting.popleft()
            if one.since < oldest:
                _fail(one, BusyError())
            elif not one.answer.done():
                one.taken = True
                batch.append(one)
        metrics.WAITING.set(len(self._waiting))
        return batch


def _place(asks: Sequence[Ask], unknown: Unknown, books: HoldBooks) -> list[Answer]:
    return books.place(asks, unknown)


def _late(one: _Waiting) -> None:
    if not one.taken:
        _fail(one, BusyError())


def _fail(one: _Waiting, error: Exception) -> None:
    if not one.answer.done():
        one.answer.set_exception(error)
