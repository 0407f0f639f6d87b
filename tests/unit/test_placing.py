"""Placing: who asks while a statement is in flight shares the next; nobody waits for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from ledger.admission import Ask
from spend_guard.books import AwayError, Books, HoldBooks
from spend_guard.health import Health
from spend_guard.placing import Bounds, BusyError, Placing
from tests.doubles.holds import HoldsInMemory
from tests.waiting import NET_SECONDS

T = TypeVar("T")
BOUNDS = Bounds(lanes=1, batch=100, waiting=100, seconds=600)


def ask(call: int, account: str = "acct", amount: int = 10) -> Ask:
    """An ask of a call."""
    return Ask(account, str(call), "n", amount, 60)


def run(
    holds: HoldsInMemory,
    what: Callable[[Placing], Awaitable[T]],
    bounds: Bounds = BOUNDS,
    clock: Callable[[], float] = lambda: 0.0,
) -> T:
    """Do something with a placing of these books, and close them."""

    async def doing() -> T:
        books = Books[HoldBooks](lambda: holds, bounds.lanes, Health(600))
        aside = Books[HoldBooks](lambda: holds, 1, Health(600))
        try:
            return await what(Placing(books, aside, "refuse", bounds, clock))
        finally:
            holds.gate.set()
            await asyncio.to_thread(books.close)
            await asyncio.to_thread(aside.close)

    return asyncio.run(asyncio.wait_for(doing(), NET_SECONDS))


async def held_back(placing: Placing, holds: HoldsInMemory, asks: int) -> list[asyncio.Task[str]]:
    """Ask once and then, while its statement is in flight, again."""
    holds.gate.clear()

    async def one(number: int) -> str:
        try:
            return (await placing.place(ask(number))).answer
        except (AwayError, BusyError) as error:
            return type(error).__name__

    tasks = [asyncio.create_task(one(0))]
    await asyncio.to_thread(holds.reached.wait, NET_SECONDS)
    tasks += [asyncio.create_task(one(number)) for number in range(1, asks)]
    await asyncio.sleep(0)
    return tasks


def test_asks_that_come_meanwhile_share_the_next_statement_in_their_order() -> None:
    holds = HoldsInMemory(acct=70)

    async def doing(placing: Placing) -> list[str]:
        tasks = await held_back(placing, holds, 9)
        holds.gate.set()
        return await asyncio.gather(*tasks)

    assert run(holds, doing) == ["held"] * 7 + ["refused"] * 2
    assert [len(batch) for batch in holds.batches] == [1, 8]
    assert [one.litellm_call_id for one in holds.batches[1]] == [str(n) for n in range(1, 9)]
    assert holds.closed


def test_a_statement_has_no_more_asks_than_it_may() -> None:
    holds = HoldsInMemory(acct=1_000)

    async def doing(placing: Placing) -> list[str]:
        tasks = await held_back(placing, holds, 8)
        holds.gate.set()
        return await asyncio.gather(*tasks)

    assert run(holds, doing, Bounds(1, 3, 100, 600)) == ["held"] * 8
    assert [len(batch) for batch in holds.batches] == [1, 3, 3, 1]


def test_more_asks_than_may_wait_are_told_at_once() -> None:
    holds = HoldsInMemory(acct=1_000)

    async def doing(placing: Placing) -> list[str]:
        tasks = await held_back(placing, holds, 6)
        done, _ = await asyncio.wait(tasks[4:])
        assert {one.result() for one in done} == {"BusyError"}
        holds.gate.set()
        return await asyncio.gather(*tasks)

    assert run(holds, doing, Bounds(1, 100, 3, 600)) == ["held"] * 4 + ["BusyError"] * 2


def test_nothing_is_held_for_who_has_waited_for_too_long() -> None:
    holds, times = HoldsInMemory(acct=1_000), [0.0]

    async def doing(placing: Placing) -> list[str]:
        tasks = await held_back(placing, holds, 3)
        times[0] = 1.5
        holds.gate.set()
        return await asyncio.gather(*tasks)

    said = run(holds, doing, Bounds(1, 100, 100, 1.0), lambda: times[0])
    assert said == ["held", "BusyError", "BusyError"]
    assert holds.accounts["acct"].held == 10


def test_who_waits_for_too_long_is_told_while_the_statement_still_hangs() -> None:
    holds = HoldsInMemory(acct=1_000)

    async def doing(placing: Placing) -> list[str]:
        tasks = await held_back(placing, holds, 3)
        late = await asyncio.gather(*tasks[1:])
        assert not tasks[0].done()
        holds.gate.set()
        return [*late, await tasks[0]]

    assert run(holds, doing, Bounds(1, 100, 100, 0.01)) == ["BusyError", "BusyError", "held"]
    assert holds.accounts["acct"].held == 10


def test_books_that_never_answer_are_away() -> None:
    """As those of a server that is frozen: it keeps its connections, and says nothing."""
    holds, health = HoldsInMemory(acct=1_000), Health(600)

    async def doing() -> None:
        books = Books[HoldBooks](lambda: holds, 1, health, seconds=0.01)
        placing = Placing(books, books, "refuse", BOUNDS)
        for call in range(2):
            with pytest.raises(AwayError):
                await placing.place(ask(call))
        assert health.away
        holds.gate.set()
        await asyncio.to_thread(books.close)

    holds.gate.clear()
    health.away = False
    asyncio.run(asyncio.wait_for(doing(), NET_SECONDS))
    assert sum(map(len, holds.batches)) == 1, "what had not begun is not done later"


def test_books_that_are_away_are_said_to_be_and_asked_again_by_the_next() -> None:
    holds = HoldsInMemory(acct=1_000)

    async def doing(placing: Placing) -> list[str]:
        holds.away = True
        with pytest.raises(AwayError):
            await placing.place(ask(0))
        holds.away = False
        return [(await placing.place(ask(0))).answer]

    assert run(holds, doing) == ["held"]


def test_a_connection_that_broke_while_nobody_asked_is_not_felt() -> None:
    holds = HoldsInMemory(acct=1_000)
    holds.failures = 1

    async def doing(placing: Placing) -> str:
        return (await placing.place(ask(0))).answer

    assert run(holds, doing) == "held"


async def said(placing: Placing, *asks: Ask, within: float | None = None) -> list[str]:
    """What is said to asks that come at once: an answer, or the name of an error."""

    async def one(ask: Ask) -> str:
        try:
            return (await placing.place(ask, within)).answer
        except (AwayError, BusyError) as error:
            return type(error).__name__

    return await asyncio.gather(*map(one, asks))


def test_who_asks_for_an_account_that_is_locked_waits_and_nobody_else_does() -> None:
    holds = HoldsInMemory(acct=1_000, locked=25)
    holds.locked.add("locked")

    async def doing(placing: Placing) -> tuple[list[str], ...]:
        waiting = asyncio.create_task(said(placing, *(ask(n, "locked") for n in range(3))))
        others = [
            answer
            for n in range(20)
            for answer in await said(placing, ask(n), ask(100 + n, "nobody"))
        ]
        assert not waiting.done()
        holds.locked.clear()
        return await waiting, others, await said(placing, ask(3, "locked"))

    first, others, later = run(holds, doing)
    assert first == ["held", "held", "refused"], "in the order in which they came"
    assert others == ["held", "unknown"] * 20
    assert later == ["refused"]


def test_an_account_that_stays_locked_is_said_to_be_and_nothing_is_held() -> None:
    holds = HoldsInMemory(acct=1_000, locked=25)
    holds.locked.add("locked")

    async def doing(placing: Placing) -> list[str]:
        return await said(placing, ask(0, "locked"), ask(1), ask(2, "locked"), within=0.05)

    assert run(holds, doing) == ["LockedError", "held", "LockedError"]
    assert holds.accounts["locked"].held == 0


def test_of_a_locked_account_no_more_asks_wait_than_may() -> None:
    holds = HoldsInMemory(acct=1_000, locked=100)
    holds.locked.add("locked")

    async def doing(placing: Placing) -> list[str]:
        waiting = [
            asyncio.create_task(said(placing, ask(number, "locked"), ask(10 + number, "locked")))
            for number in range(2)
        ]
        assert await said(placing, ask(0)) == ["held"]
        waiting.append(asyncio.create_task(said(placing, ask(2, "locked"))))
        while await said(placing, ask(20, "locked"), within=0.02) != ["BusyError"]:
            pass
        holds.locked.clear()
        return [one for found in await asyncio.gather(*waiting) for one in found]

    assert run(holds, doing, Bounds(1, 1, 5, 600)) == ["held"] * 5


def test_an_answer_comes_before_whoever_asks_stops_to_wait() -> None:
    holds = HoldsInMemory(acct=1_000)

    async def doing(placing: Placing) -> list[str]:
        tasks = await held_back(placing, holds, 1)
        found = await said(placing, ask(1), ask(2), within=0.02)
        holds.gate.set()
        return [*found, *await asyncio.gather(*tasks)]

    assert run(holds, doing) == ["BusyError", "BusyError", "held"]
    assert holds.accounts["acct"].held == 10
