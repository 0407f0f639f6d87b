"""How long records have waited, by Kafka's time of them and by what was seen."""

import pytest

from consumer.backlog import Oldest, believed

NOW = 1_795_000_000.0


@pytest.mark.parametrize(
    ("timestamp_ms", "believable"),
    [
        (int(NOW * 1_000) - 60_000, True),
        (int(NOW * 1_000) + 3_600_000, False),
        (-1, False),
        (0, False),
        (2**63 - 1, False),
    ],
)
def test_a_time_that_cannot_be_is_not_believed(timestamp_ms: int, *, believable: bool) -> None:
    assert (believed(timestamp_ms, NOW) is not None) is believable


def test_what_waits_is_as_old_as_its_record_or_as_its_wait_whichever_is_more() -> None:
    assert Oldest(5, NOW, NOW - 90).seconds(NOW + 10) == 100
    # A clock ahead: it has waited since it was first seen, whatever its time says.
    assert Oldest(5, NOW, None).seconds(NOW + 10) == 10
    assert Oldest(5, NOW, NOW).seconds(NOW - 3) == 0
