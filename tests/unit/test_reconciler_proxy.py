"""A proxy is asked again while a fault may pass; every other fault is said at once, with words."""

from datetime import UTC, datetime

import pytest

from demo.spend_log_table import Answer
from reconciler.answers import (
    KeyRefusedError,
    NoDatabaseError,
    SpendLogError,
    UnavailableError,
    UnknownShapeError,
    retry_after,
)
from tests.doubles.spend_log_server import (
    KEY,
    NO_DATABASE,
    NOT_CONNECTED,
    OVERLOADED,
    Fault,
    limited,
)
from tests.unit.spend_log_reading import IDS, PAGED, reading


@pytest.mark.parametrize("fault", [NO_DATABASE, NOT_CONNECTED], ids=["401", "500"])
def test_no_database_is_no_bad_key_and_says_what_to_do(fault: Answer) -> None:
    with reading() as reader:
        reader.server.faults.append(Fault(fault))
        with pytest.raises(NoDatabaseError, match="DATABASE_URL"):
            reader.ids()
        assert (len(reader.server.asked), reader.waited) == (1, [])


def test_a_bad_key_is_said_at_once_and_not_shown_and_a_new_one_is_used() -> None:
    with reading() as reader:
        reader.keys.append("sk-wrong-key-of-somebody")
        with pytest.raises(KeyRefusedError, match="LITELLM_API_KEY") as found:
            reader.ids()
        assert "sk-redacted" not in str(found.value)
        assert "somebody" not in str(found.value)
        assert len(reader.server.asked) == 1
        reader.keys.append(KEY)
        assert set(reader.ids()) == IDS


@pytest.mark.parametrize(
    "fault",
    [
        Fault(OVERLOADED),
        Fault(Answer(503, {})),
        Fault(limited("0")),
        Fault(half=True),
        Fault(cut=True),
    ],
    ids=["500", "503", "429", "half", "cut"],
)
def test_what_may_pass_is_asked_again_after_a_pause_and_told(fault: Fault) -> None:
    with reading(20) as reader:
        reader.server.faults.extend([fault, fault, Fault(), fault])
        assert set(reader.ids()) == IDS
        assert len(reader.waited) == len(reader.faults) == 3
        assert all(0.25 <= pause <= 2 for pause in reader.waited)


def test_a_silent_proxy_is_left_after_its_time_and_asked_again() -> None:
    with reading(silence=0.2) as reader:
        reader.server.faults.append(Fault(silent=True))
        assert set(reader.ids()) == IDS
        assert "ReadTimeout" in reader.faults[0]


def test_a_fault_that_stays_is_an_error_after_as_many_tries_as_are_set() -> None:
    with reading() as reader:
        reader.server.faults.extend([Fault(OVERLOADED)] * 9)
        with pytest.raises(UnavailableError, match="4 tries, at last: status 500"):
            reader.ids()
        assert (len(reader.server.asked), len(reader.waited)) == (4, 3)


def test_nobody_at_the_address_is_an_error_after_the_same_tries() -> None:
    with reading() as reader:
        reader.server.shutdown()
        reader.server.server_close()
        with pytest.raises(UnavailableError, match="ConnectError"):
            reader.ids()
        assert len(reader.waited) == 3


def test_retry_after_is_honoured_up_to_a_bound() -> None:
    with reading(longest_pause=1.0) as reader:
        reader.server.faults.extend([Fault(limited("7")), Fault(limited("86400"))])
        reader.ids()
        assert reader.waited == [7.0, 10.0]


def test_retry_after_is_a_number_or_a_date() -> None:
    now = datetime(2026, 11, 26, 12, tzinfo=UTC)
    assert retry_after({"retry-after": "12"}, now) == 12
    assert retry_after({"retry-after": "Thu, 26 Nov 2026 12:00:30 GMT"}, now) == 30
    assert retry_after({"retry-after": "Thu, 26 Nov 2026 11:00:00 GMT"}, now) == 0
    for nothing in ({}, {"retry-after": "soon"}, {"retry-after": "-3"}, {"retry-after": "1.5"}):
        assert retry_after(nothing, now) is None


def test_an_answer_that_is_too_long_is_not_read_to_its_end() -> None:
    with (
        reading(answer_bytes=10_000) as reader,
        pytest.raises(UnknownShapeError, match="RECONCILER_ANSWER_BYTES"),
    ):
        reader.ids()


def test_a_redirect_is_not_followed_with_the_key() -> None:
    with reading() as reader:
        elsewhere = Answer(307, {}, {"Location": f"{reader.server.url}/elsewhere"})
        reader.server.faults.append(Fault(elsewhere))
        with pytest.raises(UnknownShapeError, match="status 307"):
            reader.ids()
        assert len(reader.server.asked) == 1


@pytest.mark.parametrize("fault", [Fault(OVERLOADED), Fault(half=True), Fault(cut=True)])
def test_the_deprecated_route_is_asked_again_as_well(fault: Fault) -> None:
    with reading() as reader:
        reader.server.gone.add(PAGED)
        reader.server.faults.extend([Fault(), fault])
        assert set(reader.ids()) == IDS


@pytest.mark.parametrize("key", ["", "sk-hidden\n", "sk-hidden x", "sk-hidden\0", "sk-hidd\xe9n"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(key: str) -> None:
    with reading() as reader:
        reader.keys.append(key)
        with pytest.raises(KeyRefusedError, match="LITELLM_API_KEY") as found:
            reader.ids()
        assert "hidd" not in str(found.value)
        assert (reader.server.asked, reader.faults) == ([], [])


def test_a_proxy_that_repeats_the_key_does_not_have_it_shown() -> None:
    with reading() as reader:
        reader.server.key = "key-without-a-prefix"
        reader.keys.append("key-without-a-prefix")
        for status in (400, 401, 500):
            fault = Answer(status, {"error": "Received: Bearer key-without-a-prefix"})
            reader.server.faults.extend([Fault(fault)] * 4)
            with pytest.raises(SpendLogError) as found:
                reader.ids()
            reader.server.faults.clear()
            assert "prefix" not in str(found.value)
        assert not [fault for fault in reader.faults if "prefix" in fault]


def test_every_error_is_one_kind_and_none_shows_the_key() -> None:
    faults = [
        Fault(NO_DATABASE),
        Fault(Answer(403, {"error": KEY})),
        Fault(Answer(400, {"error": f"Bearer {KEY}"})),
        Fault(Answer(200, [])),
    ]
    for fault in faults:
        with reading() as reader:
            reader.server.faults.append(fault)
            with pytest.raises(SpendLogError) as found:
                reader.ids()
            assert KEY not in str(found.value)
