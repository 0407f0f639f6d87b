"""Waits end in time, and only those that are late."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from producer_gateway.deadline import Deadline
from tests.doubles.clock import run_in_jumps

LONG_S = 30.0


def within(seconds: float, use: Callable[[Deadline], Awaitable[None]]) -> None:
    """Use a deadline, on a clock that no machine is too slow for."""

    async def run() -> None:
        await use(Deadline(seconds))

    run_in_jumps(run())


async def never() -> None:
    """Wait for what does not happen."""
    await asyncio.Event().wait()


async def fails() -> None:
    """Raise an error of its own."""
    await asyncio.sleep(0)
    int("x")


async def soon(value: str, seconds: float = 0.0) -> str:
    """Return `value`."""
    await asyncio.sleep(seconds)
    return value


def test_what_ends_in_time_returns_its_value_and_its_error() -> None:
    async def use(deadline: Deadline) -> None:
        assert await deadline.within(soon("value")) == "value"
        with pytest.raises(ValueError, match="invalid literal"):
            await deadline.within(fails())

    within(LONG_S, use)


def test_what_is_late_is_cancelled_and_times_out_again_and_again() -> None:
    async def use(deadline: Deadline) -> None:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await deadline.within(never())
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            assert await soon("goes on") == "goes on"

    within(0.02, use)


def test_each_wait_has_its_own_end() -> None:
    async def use(deadline: Deadline) -> None:
        began = asyncio.get_running_loop().time()
        lasted = list[float]()

        async def one(after: float) -> None:
            await asyncio.sleep(after)
            with pytest.raises(TimeoutError):
                await deadline.within(never())
            lasted.append(asyncio.get_running_loop().time() - began - after)

        short = asyncio.create_task(deadline.within(soon("short", 0.15)))
        await asyncio.gather(*(one(after) for after in (0.0, 0.1, 0.2)))
        assert await short == "short"
        assert lasted == pytest.approx([0.2, 0.2, 0.2])

    within(0.2, use)


def test_a_cancellation_from_elsewhere_stays_one() -> None:
    async def use(deadline: Deadline) -> None:
        task = asyncio.create_task(deadline.within(never()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    within(LONG_S, use)


def test_cancelled_and_late_at_once_is_cancelled() -> None:
    async def use(deadline: Deadline) -> None:
        async def stubborn() -> None:
            try:
                await never()
            except asyncio.CancelledError:
                task.cancel()
                raise

        task = asyncio.create_task(deadline.within(stubborn()))
        with pytest.raises(asyncio.CancelledError):
            await task

    within(0.02, use)
