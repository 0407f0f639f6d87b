"""A run of an executor: its usage units are posted at its end, and nothing of it ever raises."""

import asyncio
import dataclasses
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import billing_stream_client
from billing_stream_client import Posted, Run, WrongInputError
from billing_stream_client.gateway import AT_ONCE
from tests.doubles.pausing_clock import PausingClock
from tests.doubles.unit_gateway import TOKEN, UnitGateway, unit_gateway

CALL_ID = "x-litellm-call-id"


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> PausingClock:
    """The clock of the client's pauses; nothing on loopback goes to a proxy of this machine."""
    clock = PausingClock()
    monkeypatch.setattr(billing_stream_client.gateway, "time", clock)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return clock


@pytest.fixture
def gateway() -> Iterator[UnitGateway]:
    """A gateway that the runs post to."""
    with unit_gateway() as gateway:
        yield gateway


def run_at(gateway: UnitGateway, executor: str | None = None) -> Run:
    """A run that posts there."""
    return Run("run-7", attempt=2, executor=executor, gateway_url=gateway.url, token=TOKEN)


def answered(run: Run, *call_ids: str) -> None:
    """Calls of the run that had these ids."""
    for call_id in call_ids:
        run.call().answered({CALL_ID: call_id})


def test_a_run_posts_a_unit_of_each_call_with_all_that_was_told(gateway: UnitGateway) -> None:
    with run_at(gateway, executor="poet") as run:
        call = run.call(graph="g", agent="a", parent_agent="p", tool_call="t")
        said = call.answered(
            {"X-LiteLLM-Call-Id": "c-1"},
            response_id="r-1",
            model="gpt",
            tokens_in=8,
            tokens_out=0,
        )
        assert said == "c-1"
        assert gateway.posts == []
    (unit,) = gateway.taken
    assert unit.model_dump(exclude={"unit_id", "started_at", "finished_at"}) == {
        "run_id": "run-7", "attempt": 2, "executor": "poet", "litellm_call_id": "c-1",
        "billing_account_id": None, "run_completed": False,
        "response_id": "r-1", "model": "gpt", "graph_id": "g", "sub_agent_id": "a",
        "parent_sub_agent_id": "p", "tool_call_id": "t", "tokens_in": 8, "tokens_out": 0,
    }  # fmt: skip
    assert unit.started_at is not None
    assert unit.started_at <= unit.finished_at
    assert (gateway.paths, gateway.tokens) == (["/v1/usage-units"], [f"Bearer {TOKEN}"])
    assert run.posted == Posted(accepted=1)
    assert run.units == ()


def test_an_error_of_the_program_goes_on_and_the_units_are_posted(gateway: UnitGateway) -> None:
    def runs() -> None:
        with run_at(gateway) as run:
            answered(run, "c-1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        runs()
    assert [unit.litellm_call_id for unit in gateway.taken] == ["c-1"]


def test_a_run_of_asyncio_posts_too_and_when_it_is_cancelled(gateway: UnitGateway) -> None:
    async def runs() -> None:
        async with run_at(gateway) as run:
            answered(run, "c-1")
            await asyncio.Event().wait()

    async def cancelled() -> None:
        task = asyncio.create_task(runs())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert [unit.litellm_call_id for unit in gateway.taken] == ["c-1"]


def test_a_run_of_another_loop_than_asyncios_posts_by_itself(gateway: UnitGateway) -> None:
    run = run_at(gateway)
    answered(run, "c-1")
    with pytest.raises(StopIteration):
        run.__aexit__(None, None, None).send(None)
    assert run.posted == Posted(accepted=1)


def test_units_are_posted_again_after_what_passes_and_stay_the_same(
    gateway: UnitGateway,
) -> None:
    gateway.answer(503, 429, 0, 520)
    with run_at(gateway) as run:
        answered(run, "c-1", "c-2")
    assert len(gateway.posts) == 5
    assert all(post == gateway.posts[0] for post in gateway.posts)
    assert len({unit.unit_id for unit in gateway.taken}) == 2
    assert run.posted == Posted(accepted=2)


def test_BILLING_NEVER_THROWS_a_gateway_that_takes_nothing_ends_the_patience(
    gateway: UnitGateway, clock: PausingClock, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.answer(*[503] * 1_000, Retry_After="7")
    with run_at(gateway) as run:
        answered(run, "c-1", "c-2")
    assert clock.pauses == [7, 7]
    assert len(gateway.posts) == 3
    assert (run.posted.accepted, run.posted.refused, run.posted.waiting) == (0, 0, 2)
    assert "answered 503: " in run.posted.said
    assert "2 wait to be posted" in caplog.text
    assert TOKEN not in caplog.text
    gateway.answers.clear()
    assert run.post().accepted == 2
    assert run.posted == Posted(accepted=2)


def test_the_pauses_grow_and_end(gateway: UnitGateway, clock: PausingClock) -> None:
    gateway.answer(*[503] * 1_000)
    with run_at(gateway) as run:
        answered(run, "c-1")
    # Within 20 seconds: seven where each pause is as long as it may be, eleven where as short.
    assert 7 <= len(clock.pauses) <= 11
    for pause, longest in zip(clock.pauses, [0.25, 0.5, 1, 2, 4, *[5] * 20], strict=False):
        assert longest / 2 <= pause <= longest


def test_BILLING_NEVER_THROWS_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    with Run("r", gateway_url="http://127.0.0.1:1", token=TOKEN, patience_seconds=0.01) as run:
        answered(run, "c-1")
    assert run.posted.waiting == len(run.units) == 1
    assert "cannot be reached" in caplog.text


@pytest.mark.parametrize("status", [200, 301, 307, 401, 404, 413])
def test_an_answer_that_does_not_pass_is_not_asked_for_again(
    gateway: UnitGateway, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.answer(status, Location=f"{gateway.url}/elsewhere")
    with run_at(gateway) as run:
        answered(run, "c-1")
    assert gateway.paths == ["/v1/usage-units"], "the token goes nowhere else"
    assert (run.posted.refused, run.units) == (1, ())
    assert f"answered {status}" in run.posted.said
    assert "1 refused" in caplog.text


def test_a_unit_that_is_refused_keeps_no_other_from_the_gateway(gateway: UnitGateway) -> None:
    with run_at(gateway) as run:
        answered(run, *(f"c-{n}" for n in range(9)))
        units = run._waiting._units  # noqa: SLF001
        broken = list(units)[4]
        units[broken] = dataclasses.replace(units[broken], attempt=-1)
    assert len(gateway.taken) == 8
    assert (run.posted.accepted, run.posted.refused, run.posted.waiting) == (8, 1, 0)
    assert "attempt" in run.posted.said


def test_many_units_go_in_several_posts(gateway: UnitGateway) -> None:
    with run_at(gateway) as run:
        call = run.call()
        for n in range(AT_ONCE + 1):
            call.answered({CALL_ID: f"c-{n}"})
    assert [len(post) for post in gateway.posts] == [AT_ONCE, 1]
    assert run.posted == Posted(accepted=AT_ONCE + 1)


def test_many_threads_may_use_one_run_and_one_call(gateway: UnitGateway) -> None:
    with run_at(gateway) as run, ThreadPoolExecutor(8) as pool:
        shared = run.call()
        for n in range(200):
            pool.submit(shared.answered, {CALL_ID: f"shared-{n}"})
            pool.submit(answered, run, f"own-{n}")
            if n == 100:
                pool.submit(run.post)
    ids = [unit.litellm_call_id for unit in gateway.taken]
    assert len(ids) == len(set(ids)) == 400


def test_without_a_gateway_nothing_is_posted_and_nothing_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Run("run-7") as run:
        answered(run, "c-1")
    assert run.post() == Posted(waiting=1, said="no gateway_url was given")
    assert caplog.records == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"gateway_url": "http://gateway"}, "go together"),
        ({"token": TOKEN}, "go together"),
        ({"gateway_url": "gateway:8080", "token": TOKEN}, "http://HOST"),
        ({"gateway_url": "file:///etc/passwd", "token": TOKEN}, "http://HOST"),
        ({"gateway_url": "http://me:secret@gateway", "token": TOKEN}, "alone"),
        ({"gateway_url": "http://gateway/v1/usage-units", "token": TOKEN}, "without endpoint"),
        ({"gateway_url": "http://gateway", "token": "a\nb"}, "printable"),
        ({"gateway_url": "http://gateway", "token": ""}, "printable"),
        ({"gateway_url": "http://gateway", "token": TOKEN, "patience_seconds": 0}, "above 0"),
        ({"executor": ""}, "executor is empty"),
        ({"metadata": {"runId": "x"}}, "billing reads `run_id`"),
        ({"tags": ["x" * 190] * 30}, "servers refuse"),
    ],
)
def test_a_run_that_could_not_be_told_of_is_refused_before_its_first_call(
    arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(WrongInputError, match=words) as refused:
        Run("run-7", **arguments)
    assert "secret" not in str(refused.value)


def test_the_token_is_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    run = Run("r", gateway_url="http://127.0.0.1:1", token=TOKEN, patience_seconds=0.01)
    answered(run, "c-1")
    run.post()
    shown = [repr(run), repr(run.posted), repr(run._waiting._gateway), caplog.text]  # noqa: SLF001
    assert not any(TOKEN in text for text in shown)


def test_who_pays_for_a_run_is_posted_at_once_and_with_no_call(gateway: UnitGateway) -> None:
    run = run_at(gateway, executor="server")
    assert run.register("Müller & Söhne")
    [unit] = gateway.taken
    assert (unit.run_id, unit.attempt, unit.executor) == ("run-7", 2, "server")
    assert unit.billing_account_id == "Müller & Söhne"
    assert (unit.litellm_call_id, unit.response_id) == (None, None)
    assert run.units == ()


def test_who_pays_is_told_again_at_the_end_where_the_gateway_was_away(gateway: UnitGateway) -> None:
    gateway.answer(*[503] * 100)
    with run_at(gateway) as run:
        assert not run.register("acme")
        gateway.answers.clear()
    assert [unit.billing_account_id for unit in gateway.taken] == ["acme"]


@pytest.mark.parametrize("account", ["", " ", "run-7/2", '{"a": 1}', None, 7])
def test_an_account_that_would_not_be_read_is_refused_and_nothing_is_posted(
    gateway: UnitGateway, account: object
) -> None:
    with pytest.raises(WrongInputError):
        run_at(gateway).register(account)  # type: ignore[arg-type] # as an untyped program may
    assert gateway.taken == []
