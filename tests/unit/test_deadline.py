"""What asks Kafka ends in time, or is left behind."""

import threading

import pytest

from consumer.deadline import DeadlineError, within
from tests.waiting import NET_SECONDS


def failing() -> None:
    raise KeyError("x")


def test_the_answer_and_the_failure_come_back() -> None:
    assert within(NET_SECONDS, lambda: 3, "it") == 3
    with pytest.raises(KeyError):
        within(NET_SECONDS, failing, "it")


def test_what_does_not_end_is_left_behind() -> None:
    ends = threading.Event()
    with pytest.raises(DeadlineError, match=r"the commit did not end within 0\.01 s"):
        within(0.01, ends.wait, "the commit")
    ends.set()
