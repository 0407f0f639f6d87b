"""What asks Kafka ends in time, or is left behind."""

import gc
import threading
import weakref
from contextlib import suppress

import pytest

from consumer.deadline import DeadlineError, within
from tests.waiting import NET_SECONDS


class Client:
    """A client of Kafka has threads and open files."""


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


def test_a_failure_keeps_nothing_that_was_made_before_it() -> None:
    """Who tries again while Kafka is away would gather clients until no file can be opened."""
    made = list[weakref.ref[Client]]()

    def make() -> None:
        client = Client()
        made.append(weakref.ref(client))
        failing()

    gc.disable()
    try:
        with suppress(KeyError):
            within(NET_SECONDS, make, "it")
        assert [one() for one in made] == [None]
    finally:
        gc.enable()
