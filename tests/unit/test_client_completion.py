"""A run that has ended: the gateway is told after all else, once, and whatever happens."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import billing_stream_client
from billing_stream_client import Posted, Run, Unit
from billing_stream_client.gateway import AT_ONCE, Gateway
from tests.doubles.pausing_clock import PausingClock
from tests.doubles.unit_gateway import TOKEN, UnitGateway, unit_gateway

CALL_ID = "x-litellm-call-id"
END = "the end"
LONGER_THAN_ITS_PATIENCE = "60"


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses take no time; nothing on loopback goes to a proxy of this machine."""
    monkeypatch.setattr(billing_stream_client.gateway, "time", PausingClock())
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def gateway() -> Iterator[UnitGateway]:
    """A gateway that the runs post to."""
    with unit_gateway() as gateway:
        yield gateway


def run_at(gateway: UnitGateway) -> Run:
    """A run that posts there."""
    return Run("run-7", attempt=2, executor="poet", gateway_url=gateway.url, token=TOKEN)


def answered(run: Run, *call_ids: str) -> None:
    """Calls of the run that had these ids."""
    call = run.call()
    for call_id in call_ids:
        call.answered({CALL_ID: call_id})


def posts(gateway: UnitGateway) -> list[list[str]]:
    """The calls that each post named, and the end of a run among them."""
    return [
        [END if unit.get("run_completed") else unit["litellm_call_id"] for unit in post]
        for post in gateway.posts
    ]


def waiting(run: Run) -> list[str | None]:
    """The same of the units that wait."""
    return [END if unit.run_completed else unit.litellm_call_id for unit in run.units]


def ends(gateway: UnitGateway) -> set[str]:
    """The ids of the units that said that a run has ended, in whatever post."""
    return {unit["unit_id"] for post in gateway.posts for unit in post if "run_completed" in unit}


def test_the_end_of_a_run_is_posted_after_all_that_waits_and_names_no_call(
    gateway: UnitGateway,
) -> None:
    run = run_at(gateway)
    answered(run, "c-1", "c-2")
    assert run.complete()
    assert posts(gateway) == [["c-1", "c-2"], [END]]
    *calls, end = gateway.taken
    assert end.model_dump(exclude={"unit_id", "finished_at"}, exclude_none=True) == {
        "run_id": "run-7", "attempt": 2, "executor": "poet", "run_completed": True,
    }  # fmt: skip
    assert all(call.finished_at <= end.finished_at for call in calls)
    assert (run.posted, run.units) == (Posted(accepted=3), ())


def test_a_run_that_made_no_call_may_end(gateway: UnitGateway) -> None:
    assert run_at(gateway).complete()
    assert posts(gateway) == [[END]]


def test_the_end_of_the_block_is_not_the_end_of_the_run(gateway: UnitGateway) -> None:
    with run_at(gateway) as run:
        answered(run, "c-1")
    assert posts(gateway) == [["c-1"]]


def test_only_the_end_of_a_run_has_the_field_that_older_gateways_refuse(
    gateway: UnitGateway,
) -> None:
    run = run_at(gateway)
    run.register("acme")
    answered(run, "c-1")
    run.complete()
    told = [unit for post in gateway.posts for unit in post]
    assert ["run_completed" in unit for unit in told] == [False, False, True]


def test_what_was_taken_is_not_sent_again(gateway: UnitGateway) -> None:
    with run_at(gateway) as run:
        assert run.complete()
        assert run.complete()
    assert posts(gateway) == [[END]]


def test_what_was_not_taken_is_sent_again_as_the_same_unit(gateway: UnitGateway) -> None:
    gateway.answer(503, Retry_After=LONGER_THAN_ITS_PATIENCE)
    run = run_at(gateway)
    assert not run.complete()
    assert waiting(run) == [END]
    first = list(gateway.posts)
    assert run.complete()
    assert gateway.posts == first * 2


def test_the_end_of_the_block_posts_the_end_of_a_run_that_waits(gateway: UnitGateway) -> None:
    gateway.answer(503, Retry_After=LONGER_THAN_ITS_PATIENCE)
    with run_at(gateway) as run:
        assert not run.complete()
    assert posts(gateway) == [[END]] * 2
    assert run.posted == Posted(accepted=1)
    assert run.complete()
    assert len(gateway.posts) == 2


def test_the_end_waits_while_one_list_of_units_waits(gateway: UnitGateway) -> None:
    run = run_at(gateway)
    answered(run, *(f"c-{n}" for n in range(2 * AT_ONCE + 1)))
    gateway.answer(202)
    gateway.answer(503, Retry_After=LONGER_THAN_ITS_PATIENCE)
    gateway.answer(202)
    assert not run.complete()
    assert [len(post) for post in gateway.posts] == [AT_ONCE, AT_ONCE, 1]
    assert ends(gateway) == set()
    assert waiting(run) == [*(f"c-{n}" for n in range(AT_ONCE, 2 * AT_ONCE)), END]
    assert (run.posted.accepted, run.posted.waiting) == (AT_ONCE + 1, AT_ONCE + 1)
    assert run.complete()
    assert [len(post) for post in gateway.posts[3:]] == [AT_ONCE, 1]
    assert posts(gateway)[-1] == [END]


def test_the_end_waits_while_one_half_of_a_list_waits(gateway: UnitGateway) -> None:
    run = run_at(gateway)
    answered(run, "c-1", "c-2")
    gateway.answer(422)
    gateway.answer(503, Retry_After=LONGER_THAN_ITS_PATIENCE)
    assert not run.complete()
    assert posts(gateway) == [["c-1", "c-2"], ["c-1"], ["c-2"]]
    assert waiting(run) == ["c-1", END]


def test_a_full_list_does_not_take_the_end_with_it(gateway: UnitGateway) -> None:
    run = run_at(gateway)
    answered(run, *(f"c-{n}" for n in range(AT_ONCE)))
    assert run.complete()
    assert [len(post) for post in gateway.posts] == [AT_ONCE, 1]


def test_a_unit_that_is_refused_does_not_keep_the_end_from_the_gateway(
    gateway: UnitGateway,
) -> None:
    run = run_at(gateway)
    answered(run, "c-1")
    gateway.answer(422)
    assert run.complete()
    assert (run.posted.accepted, run.posted.refused) == (1, 1)


def test_calls_that_are_answered_later_stand_before_an_end_that_waits(
    gateway: UnitGateway,
) -> None:
    gateway.answer(503, Retry_After=LONGER_THAN_ITS_PATIENCE)
    with run_at(gateway) as run:
        assert not run.complete()
        answered(run, "late")
        assert waiting(run) == ["late", END]
    assert posts(gateway) == [[END], ["late"], [END]]
    assert len(ends(gateway)) == 1


def test_calls_that_are_answered_after_the_end_are_told_of(gateway: UnitGateway) -> None:
    run = run_at(gateway)
    assert run.complete()
    answered(run, "late")
    assert run.complete()
    assert posts(gateway) == [[END], ["late"]]


def test_an_older_gateway_refuses_the_end_and_nothing_else(gateway: UnitGateway) -> None:
    run = run_at(gateway)
    answered(run, "c-1")
    gateway.answer(202, 422)
    assert not run.complete()
    assert (run.posted.accepted, run.posted.refused, run.units) == (1, 1, ())
    assert run.post() == Posted(), "it is sent again only if it is said again"
    assert run.complete()
    assert posts(gateway) == [["c-1"], [END], [END]]
    assert len(ends(gateway)) == 1


def test_many_threads_may_say_it_at_once(gateway: UnitGateway) -> None:
    run = run_at(gateway)
    with ThreadPoolExecutor(8) as pool:
        for n in range(50):
            pool.submit(answered, run, f"c-{n}")
        told = [pool.submit(run.complete) for _ in range(50)]
    assert all(future.result() for future in told)
    assert sum(unit.run_completed for unit in gateway.taken) == 1
    run.post()
    assert len(gateway.taken) == 51


def test_BILLING_NEVER_THROWS_the_end_of_a_run_that_nobody_hears() -> None:
    run = Run("run-7", gateway_url="http://127.0.0.1:1", token=TOKEN, patience_seconds=0.01)
    answered(run, "c-1")
    assert not run.complete()
    assert waiting(run) == ["c-1", END]


def test_BILLING_NEVER_THROWS_the_end_of_a_run_where_the_client_has_a_fault(
    gateway: UnitGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Posted:
        raise ZeroDivisionError

    run = run_at(gateway)
    with monkeypatch.context() as patch:
        patch.setattr(Gateway, "post", fails)
        assert not run.complete()
    assert waiting(run) == [END]
    assert run.complete()


def test_without_a_gateway_the_end_of_a_run_waits() -> None:
    run = Run("run-7")
    assert not run.complete()
    assert waiting(run) == [END]
    assert run.post() == Posted(waiting=1, said="no gateway_url was given")


def test_a_unit_is_no_end_of_a_run_unless_it_says_so() -> None:
    unit = Unit(unit_id="u", run_id="r", attempt=0, executor="e", tokens_in=0, finished_at="f")
    assert unit.row() == {
        "unit_id": "u", "run_id": "r", "attempt": 0, "executor": "e", "tokens_in": 0,
        "finished_at": "f",
    }  # fmt: skip
