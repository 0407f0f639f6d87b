"""The spend guard as a process in front of a real PostgreSQL."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from spend_guard.app import openapi
from tests.databases import credits as sql
from tests.databases.database import fresh_database
from tests.processes.guarding import ADMIN_TOKEN, OTHER_TOKEN, TOKEN, SpendGuard, bearer
from tests.waiting import NET_SECONDS, eventually

NAME = "team/ä b%2F/entries?x=#雪"


@pytest.fixture
def start(migrated_database_url: str, tmp_path: Path) -> Iterator[Callable[..., SpendGuard]]:
    """Starts spend guards that end with the test."""
    with ExitStack() as started:

        def one(**settings: str) -> SpendGuard:
            guard = SpendGuard(migrated_database_url, tmp_path, **settings)
            return started.enter_context(guard.running())

        yield one


def fault(answer: httpx.Response) -> dict[str, Any]:
    """What a refusal says."""
    said: dict[str, Any] = answer.json()["error"]
    assert said["message"]
    return said


def test_a_call_is_held_or_refused_in_words_and_can_be_released(
    start: Callable[..., SpendGuard],
) -> None:
    guard = start()
    assert guard.post("acct", "first", amount_usd="0.0000100").status_code == 201
    held = guard.ask("acct", "a", 60)
    assert held.status_code == 200
    assert held.json() | {"hold": "", "expires_at": ""} == {
        "hold": "",
        "account": "acct",
        "amount": 60,
        "expires_at": "",
        "available": 40,
        "kind": "prepaid",
        "plenty": False,
        "state": "held",
    }
    refused = guard.ask("acct", "b", 41)
    assert refused.status_code == 402
    assert fault(refused) == {
        "message": "insufficient credits: this call may cost 0.0000041 USD, and the account acct "
        "has 0.000004 USD available",
        "type": "insufficient_credits",
        "account": "acct",
        "required": 41,
        "available": 40,
    }
    assert guard.ask("acct", "a", 60).json()["hold"] == held.json()["hold"]
    for _ in range(2):
        released = guard.release(held.json()["hold"])
        assert (released.status_code, released.json()["state"]) == (200, "released")
    assert guard.account("acct").json()["available"] == 100
    assert fault(guard.release(str(uuid4())))["type"] == "unknown_hold"
    assert guard.metric("billing_guard_holds_total", answer="held") == 1
    assert guard.metric("billing_guard_holds_total", answer="known") == 1
    assert guard.metric("billing_guard_holds_total", answer="refused") == 1
    free = guard.ask("acct", "c", 0).json()
    assert (free["hold"], free["expires_at"]) == (None, None)


def test_dollars_are_exact_and_rounded_up_and_lives_are_bounded(
    start: Callable[..., SpendGuard], migrated_database_url: str
) -> None:
    guard = start(
        SPEND_GUARD_LONGEST_HOLD_S="700", SPEND_GUARD_PLENTY_USD="0.00001", BILLING_MARKUP="1.5"
    )
    sql.opened(migrated_database_url, "acct", 10**13, "postpaid")
    body = {"account": "acct", "litellm_call_id": "a", "nonce": "n", "expires_in_seconds": 10**6}
    asked = {**body, "amount_usd": "0.00000008"}
    url, headers = f"{guard.url}/v1/holds", bearer(OTHER_TOKEN)
    held = guard.client.post(url, json=asked, headers=headers).json()
    assert (held["amount"], held["plenty"]) == (2, True)
    with psycopg.connect(migrated_database_url) as connection:
        life = "SELECT extract(epoch FROM expires_at - created_at)::int FROM billing.credit_holds"
        row = connection.execute(life).fetchone()
    assert row is not None
    assert 690 <= row[0] <= 710
    for wrong in (
        body,
        {**asked, "amount_credits": 1},
        {**asked, "nonce": ""},
        {**asked, "amount_usd": 1},
    ):
        refused = guard.client.post(url, json=wrong, headers=headers)
        assert (refused.status_code, fault(refused)["type"]) == (422, "invalid_request")


def test_only_who_has_the_token_for_it_comes_in(start: Callable[..., SpendGuard]) -> None:
    guard = start()
    assert guard.post("acct", "first", amount_credits=5).status_code == 201
    for headers in ({}, bearer("x" * 32), {"authorization": f"Basic {TOKEN}"}, bearer(ADMIN_TOKEN)):
        # Not even a wrong body is told what is wrong with it.
        answer = guard.client.post(f"{guard.url}/v1/holds", content=b"{", headers=headers)
        assert (answer.status_code, fault(answer)["type"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert guard.post("acct", "second", TOKEN, amount_credits=5).status_code == 401
    assert [guard.account("acct", token=one).status_code for one in (TOKEN, ADMIN_TOKEN)] == [
        200,
        200,
    ]
    assert guard.account("acct", token="y" * 32).status_code == 401
    large = guard.ask("a" * 70_000, "a", 1)
    assert (large.status_code, fault(large)["type"]) == (413, "too_large")


def test_entries_are_posted_once_and_shown_page_by_page(start: Callable[..., SpendGuard]) -> None:
    guard = start()
    first = guard.post(NAME, "key", amount_credits=7)
    again = guard.post(NAME, "key", amount_credits=7)
    assert [first.status_code, again.status_code] == [201, 200]
    assert first.json() == again.json()
    assert fault(guard.post(NAME, "key", amount_credits=8))["type"] == "reference_taken"
    assert guard.post(NAME, "key", amount_credits=8).status_code == 409
    assert guard.post(NAME, "down", amount_credits=-8).status_code == 422
    assert guard.post("nobody", "back", reason="refund", amount_credits=8).status_code == 404
    for number in range(4):
        guard.post(NAME, f"more-{number}", amount_credits=1)
    account = guard.account(NAME).json()
    assert (account["account"], account["balance"], account["kind"]) == (NAME, 11, "prepaid")
    pages, rest = list[list[str]](), "/entries?limit=2"
    while rest:
        page = guard.account(NAME, rest).json()
        pages.append([one["reference"] for one in page["entries"]])
        rest = f"/entries?limit=2&before={page['next']}" if page["next"] else ""
    assert pages == [["more-3", "more-2"], ["more-1", "more-0"], ["key"]]
    [entry] = guard.account(NAME, "/entries?limit=1").json()["entries"]
    assert (entry["person"], entry["note"], entry["amount"]) == ("ann", "for tests", 1)
    for rest in ("", "/entries"):
        assert guard.account("nobody", rest).status_code == 404


def test_an_account_is_found_by_the_name_that_holds_were_asked_for(
    start: Callable[..., SpendGuard],
) -> None:
    guard = start()
    for name in (NAME, "a/entries", "/", "entries", "%", "a//b", "é", "a b+c"):
        assert guard.ask(name, "a", 7).json()["account"] == name
        found = guard.account(name).json()
        assert (found["account"], found["held"], found["limit"]) == (name, 7, None)
        assert guard.account(name, "/entries").json() == {"entries": [], "next": None}


def test_a_run_is_paid_by_the_account_that_an_executor_has_named_for_it(
    start: Callable[..., SpendGuard], migrated_database_url: str
) -> None:
    guard = start()
    sql.opened(migrated_database_url, "acme", 100)
    with psycopg.connect(migrated_database_url) as admin:
        for offset, account in enumerate((None, "acme", "globex")):
            admin.execute(
                "INSERT INTO billing.usage_units (unit_id, run_id, attempt, billing_account_id,"
                " executor, finished_at, kafka_topic, kafka_partition, kafka_offset, created_at)"
                " VALUES (%s, 'run-7', 2, %s, 'e', now(), 't', 0, %s,"
                " now() + %s * interval '1 s')",
                [uuid4(), account, offset, offset],
            )
    run = {"account_of_run": True, "run_id": "run-7"}
    held = guard.ask("unattributed", "a", 60, **run, attempt=2).json()
    assert (held["account"], held["available"], held["kind"]) == ("acme", 40, "prepaid")
    assert guard.ask("unattributed", "a", 60, **run, attempt=2).json()["hold"] == held["hold"]
    refused = fault(guard.ask("unattributed", "b", 41, **run, attempt=2))
    assert (refused["account"], refused["available"]) == ("acme", 40)
    others: list[dict[str, Any]] = [
        {},
        {"run_id": "run-7", "attempt": 2},
        {**run, "attempt": 1},
        {"account_of_run": True},
    ]
    for other in others:
        answer = guard.ask("unattributed", str(other), 41, **other)
        assert answer.json()["account"] == "unattributed"
    assert guard.account("acme").json()["held"] == 60


def test_an_account_that_nobody_has_opened_is_refused_where_that_is_the_rule(
    start: Callable[..., SpendGuard],
) -> None:
    guard = start(BILLING_UNKNOWN_ACCOUNT="refuse")
    refused = guard.ask("nobody", "a", 1)
    assert refused.status_code == 402
    assert fault(refused)["type"] == "unknown_account"
    assert guard.account("nobody").status_code == 404


def test_a_hundred_at_once_through_two_guards_hold_what_there_is_and_no_more(
    start: Callable[..., SpendGuard], migrated_database_url: str
) -> None:
    guards = [start(), start()]
    sql.opened(migrated_database_url, "acct", 37 * 10 + 9)
    with ThreadPoolExecutor(100) as pool:
        asked = [pool.submit(guards[n % 2].ask, "acct", str(n), 10) for n in range(100)]
        answers = Counter(one.result().status_code for one in asked)
    assert answers == {200: 37, 402: 63}
    assert sql.account(migrated_database_url, "acct").held == 370
    assert not sql.wrong(migrated_database_url)


def test_what_a_killed_guard_has_held_expires_by_the_next_one(
    start: Callable[..., SpendGuard], migrated_database_url: str
) -> None:
    sql.opened(migrated_database_url, "acct", 1_000)
    killed = start()
    with ThreadPoolExecutor(20) as pool:

        def ask(number: int) -> None:
            try:
                killed.ask("acct", str(number), 10, expires_in_seconds=1)
            except httpx.TransportError:
                return  # it was killed

        asked = [pool.submit(ask, number) for number in range(200)]
        eventually(lambda: sql.account(migrated_database_url, "acct").held, "a hold")
        killed.server.kill()
        _ = [one.result() for one in asked]
    assert not sql.wrong(migrated_database_url)
    following = start()
    eventually(lambda: not sql.account(migrated_database_url, "acct").held, "nothing to be held")
    assert {state for state, _ in sql.states(migrated_database_url)} == {"expired"}
    assert following.ask("acct", "new", 1_000).status_code == 200
    assert not sql.wrong(migrated_database_url)


def test_a_stop_answers_what_is_in_hand_and_ends_well(
    start: Callable[..., SpendGuard], migrated_database_url: str
) -> None:
    guard = start()
    sql.opened(migrated_database_url, "acct", 100)
    with ThreadPoolExecutor(1) as pool, psycopg.connect(migrated_database_url) as other:
        other.execute("SELECT FROM billing.credit_accounts FOR UPDATE")
        asked = pool.submit(guard.ask, "acct", "a", 10)
        eventually(lambda: guard.metric("billing_guard_batch_asks_count"), "the ask to be in hand")
        os.kill(guard.server.pid, signal.SIGTERM)
        eventually(lambda: '"stopping"' in guard.log.read_text(), "it to stop")
        other.commit()
        assert asked.result().status_code == 200
    # Raises where it does not end by itself.
    guard.server.stop()


def test_who_waits_no_longer_harms_nobody(
    start: Callable[..., SpendGuard], migrated_database_url: str
) -> None:
    guard = start()
    sql.opened(migrated_database_url, "acct", 100)
    body = {"account": "acct", "litellm_call_id": "a", "nonce": "n", "amount_credits": 10}
    soon = httpx.Timeout(NET_SECONDS, read=0.2)
    with psycopg.connect(migrated_database_url) as other:
        other.execute("SELECT FROM billing.credit_accounts FOR UPDATE")
        for _ in range(3):
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{guard.url}/v1/holds", json=body, headers=bearer(TOKEN), timeout=soon)
    # The plugin has let the call pass, or has not: an ask that is repeated is the same hold.
    assert guard.ask("acct", "a", 10).status_code == 200
    assert sql.account(migrated_database_url, "acct").held == 10
    assert "Traceback" not in guard.log.read_text()


def test_an_account_that_a_member_has_locked_holds_up_no_other(
    start: Callable[..., SpendGuard], migrated_database_url: str
) -> None:
    """As one that stands still between its debit and its commit has."""
    guard = start()
    sql.opened(migrated_database_url, "acct", 100)
    with psycopg.connect(migrated_database_url) as other:
        mine = guard.ask("mine", "a", 1).json()["hold"]
        locked = guard.ask("acct", "a", 1).json()["hold"]
        other.execute(
            "SELECT FROM billing.credit_accounts WHERE billing_account_id = 'acct' FOR UPDATE"
        )
        with ThreadPoolExecutor(2) as pool:
            waiting = pool.submit(guard.ask, "acct", "b", 1)
            releasing = pool.submit(guard.release, locked)
            for number in range(20):
                soon = guard.ask("acct", f"soon-{number}", 1, answer_within_ms=250)
                assert (soon.status_code, fault(soon)["type"]) == (503, "account_busy")
                assert guard.ask("mine", f"b-{number}", 1).status_code == 200
            assert guard.release(mine).status_code == 200
            assert not waiting.done()
            assert fault(releasing.result())["type"] == "account_busy"
            assert guard.probe("/readyz") == 200
            other.rollback()
            assert waiting.result().status_code == 200
    assert guard.release(locked).json()["state"] == "released"
    assert sql.account(migrated_database_url, "acct").held == 1
    assert guard.metric("billing_guard_holds_total", answer="locked") == 20
    assert not sql.wrong(migrated_database_url)


def test_without_a_database_it_says_so_and_asks_again_when_it_is_back(
    start: Callable[..., SpendGuard], migrated_database_url: str
) -> None:
    guard = start()
    assert guard.ask("acct", "a", 1).status_code == 200
    name = migrated_database_url.rpartition("/")[2].partition("?")[0]
    server = migrated_database_url.replace(f"/{name}", "/postgres")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        eventually(lambda: guard.ask("acct", "b", 1).status_code == 503, "503")
        away = guard.ask("acct", "b", 1)
        assert (fault(away)["type"], away.headers["retry-after"]) == ("away", "1")
        eventually(lambda: guard.probe("/readyz") == 503, "not ready")
        assert guard.probe("/livez") == 200
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    eventually(lambda: guard.ask("acct", "b", 1).status_code == 200, "an answer")
    eventually(lambda: guard.probe("/readyz") == 200, "ready again")
    assert not sql.wrong(migrated_database_url)


def test_without_the_tables_it_ends_and_says_what_to_do(database_url: str, tmp_path: Path) -> None:
    guard = SpendGuard(database_url, tmp_path)
    with closing(guard.client):
        guard.server.start()
        eventually(lambda: "run `billing migrate`" in guard.log.read_text(), "its reason")
        guard.server.kill()


@pytest.fixture(scope="module")
def fuzzed(
    database_server: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SpendGuard]:
    """A spend guard that anything is sent to."""
    with fresh_database(database_server, migrated_template) as url:
        guard = SpendGuard(url, tmp_path_factory.mktemp("fuzzed"))
        with guard.running():
            guard.post("acct", "first", amount_usd="1")
            yield guard
            assert not sql.wrong(url)
            assert "Traceback" not in guard.log.read_text()


@schemathesis.openapi.from_dict(openapi()).parametrize()
@settings(
    max_examples=40,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    verbosity=Verbosity.quiet,
)
def test_what_the_document_says_is_what_happens(
    fuzzed: SpendGuard, case: schemathesis.Case[Any]
) -> None:
    posting = case.method == "POST" and case.path.endswith("/entries")
    if isinstance(case.body, dict) and isinstance(within := case.body.get("answer_within_ms"), int):
        # Who waits for a millisecond is told 503, as the document says, and nobody here is to be.
        case.body["answer_within_ms"] = max(within, 600_000) if within > 0 else within
    case.call_and_validate(
        base_url=fuzzed.url,
        headers=bearer(ADMIN_TOKEN if posting else TOKEN),
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ],
        timeout=NET_SECONDS,
    )
