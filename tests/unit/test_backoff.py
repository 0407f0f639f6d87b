"""The pauses between tries, of every process."""

from runtime.backoff import BackOff


def test_pauses_grow_to_a_bound_and_two_that_fail_together_part() -> None:
    most, least = BackOff(0.5, 4.0, lambda: 1.0), BackOff(0.5, 4.0, lambda: 0.0)
    assert [most.pause(tries) for tries in range(1, 7)] == [0.5, 1, 2, 4, 4, 4]
    assert [least.pause(tries) for tries in (1, 4, 9_999)] == [0.25, 2, 2]


def test_what_is_asked_for_is_waited_for_up_to_ten_of_the_longest_pauses() -> None:
    back_off = BackOff(0.5, 4.0, lambda: 0.0)
    assert back_off.pause(1, asked=3.0) == 3.0
    assert back_off.pause(1, asked=86_400.0) == 40.0
    assert back_off.pause(9, asked=0.1) == 2.0


def test_the_jitter_differs_from_one_pause_to_the_next() -> None:
    back_off = BackOff(0.2, 10.0)
    assert len({back_off.pause(5) for _ in range(10)}) > 1
