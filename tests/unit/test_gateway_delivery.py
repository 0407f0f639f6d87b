"""A request is told when all of its records are reported, or when that takes too long."""

import asyncio
from typing import cast

import pytest
from confluent_kafka import KafkaError, Message

from producer_gateway.delivery import Deliveries

MESSAGE = cast("Message", None)
"""Nobody looks at it."""


@pytest.mark.parametrize("failed", [(), (0,), (1,), (0, 1, 2)])
def test_a_request_ends_with_its_last_report_and_with_an_error_where_one_was_bad(
    failed: tuple[int, ...],
) -> None:
    async def use() -> None:
        deliveries = Deliveries(1_000)
        delivery = deliveries.begin(3)
        for number in range(3):
            assert not delivery.future.done()
            delivery.report(
                KafkaError(KafkaError.INVALID_MSG) if number in failed else None, MESSAGE
            )
        deliveries.end_late()
        assert ((await delivery.future) is not None, delivery.late) == (bool(failed), False)
        deliveries.forget(delivery)
        assert not deliveries

    asyncio.run(use())


def test_whose_reports_do_not_come_in_time_is_told_so_and_no_other_one() -> None:
    async def use() -> None:
        deliveries = Deliveries(0)
        first, done, last = (deliveries.begin(1) for _ in range(3))
        done.report(None, MESSAGE)
        last.due += 1_000
        deliveries.end_late()
        assert [first.late, done.late, last.late] == [True, False, False]
        assert [each.future.done() for each in (first, done, last)] == [True, True, False]
        first.report(None, MESSAGE)
        assert await first.future is None

    asyncio.run(use())
