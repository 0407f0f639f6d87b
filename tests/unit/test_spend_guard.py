"""The spend guard's answers, with its books in memory: tokens, paths, bodies, refusals."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from decimal import Decimal
from threading import Event, Thread
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from charging.estimate import Rates
from charging.estimate import Terms as Costs
from ledger.healing import LedgerError
from ledger.holds import Figures
from runtime.environment import ConfigurationError
from schemas.text import identifier
from spend_guard.amounts import Amounts
from spend_guard.app import api
from spend_guard.books import AwayError, Books, CreditBooks, HoldBooks
from spend_guard.door import Door, Tokens, account_of, routed
from spend_guard.guard import Guard, Terms
from spend_guard.health import Health
from spend_guard.placing import Bounds, Placing
from spend_guard.quick import Quick
from spend_guard.rates import KnownRates, Learner
from spend_guard.settings import load
from spend_guard.sweeping import Sweeper
from tests.doubles.credits import CreditsInMemory
from tests.doubles.holds import HoldsInMemory
from tests.processes.guarding import ADMIN_TOKEN, OTHER_TOKEN, TOKEN, bearer
from tests.waiting import NET_SECONDS, eventually

BODY = {"account": "acct", "litellm_call_id": "a", "nonce": "n", "amount_credits": 60}
COSTS = Costs(Decimal(2), Decimal("0.0001"), 50)
RATES = Rates("mini", Decimal("0.0000001"), Decimal("0.0000002"), 7, 100)
CALL = {"prompt_tokens": 3, "max_tokens": 4}


class InMemory:
    """A spend guard without a process and without a database."""

    def __init__(self, *, quick: bool = True, **balances: int) -> None:
        self.holds = HoldsInMemory(**balances)
        health = Health(60)
        self._books: list[Books[Any]] = [
            placing := Books[HoldBooks](lambda: self.holds, 1, health),
            releasing := Books[HoldBooks](lambda: self.holds, 1, health),
            credit := Books[CreditBooks](CreditsInMemory, 1, health),
        ]
        asks = Placing(placing, placing, "open", Bounds(1, 10, 10, 600))
        self.rates = KnownRates()
        amounts = Amounts(self.rates, COSTS)
        guard = Guard(asks, releasing, credit, amounts, Terms(600, 3_600, 1_000))
        tokens = Tokens([TOKEN, OTHER_TOKEN], [ADMIN_TOKEN])
        self._app = Door(Quick(api(guard), guard) if quick else api(guard), tokens)

    def close(self) -> None:
        """End its threads."""
        for books in self._books:
            books.close()

    def ask(
        self,
        method: str,
        path: str,
        token: str = TOKEN,
        **more: Any,  # noqa: ANN401 - httpx's own
    ) -> httpx.Response:
        """Ask over HTTP."""

        async def asking() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://guard") as client:
                headers = {**bearer(token), **more.pop("headers", {})}
                return await client.request(method, path, headers=headers, **more)

        return asyncio.run(asking())


@pytest.fixture
def guard() -> Iterator[InMemory]:
    """A spend guard with an account that has 100 credits."""
    with closing(InMemory(acct=100)) as opened:
        yield opened


def test_a_refusal_reads_as_plain_text(guard: InMemory) -> None:
    assert guard.ask("POST", "/v1/holds", json=BODY).json()["available"] == 40
    again = {**BODY, "litellm_call_id": "b"}
    refused = guard.ask("POST", "/v1/holds", json=again)
    assert refused.status_code == 402
    assert refused.json()["error"]["message"] == (
        "insufficient credits: this call may cost 0.000006 USD, and the account acct has "
        "0.000004 USD available"
    )


@pytest.mark.parametrize(
    "content",
    [
        *(
            json.dumps({**BODY, **more}).encode()
            for more in (
                {},
                {"amount_credits": 101},
                {"amount_credits": 0},
                {"account": "new", "more": [1]},
                {"account": "a\0b"},
                {"run_id": "\ud800", "account": "ä"},
                {"amount_credits": None, "model": "mini", "estimate": CALL},
                {"amount_credits": None, "estimate": CALL},
                {"amount_credits": 1.0},
                {"amount_credits": True},
                {"attempt": 10**40},
            )
        ),
        b'{"amount_credits": 1, ' + json.dumps(BODY).encode()[1:],
        json.dumps(BODY).encode()[:-1] + b', "more": NaN}',
        json.dumps(BODY).encode() + b" ",
        b"\xff",
        b"{",
        b"",
    ],
)
def test_what_is_answered_ahead_of_the_framework_is_what_it_would_answer(content: bytes) -> None:
    headers = {"content-type": "application/json"}
    said = list[tuple[int, str, object]]()
    for quick in (True, False):
        with closing(InMemory(quick=quick, acct=100)) as guard:
            answer = guard.ask("POST", "/v1/holds", content=content, headers=headers)
            changing = {"hold": "", "expires_at": ""} if answer.status_code == 200 else {}
            body = answer.json() | changing
            said.append((answer.status_code, answer.headers["content-type"], body))
    assert said[0] == said[1]


def test_plenty_is_said_of_accounts_that_have_it_or_have_no_limit(guard: InMemory) -> None:
    said = {
        name: guard.ask("POST", "/v1/holds", json={**BODY, "account": name}).json()
        for name in ("acct", "new")
    }
    assert [said[name]["plenty"] for name in ("acct", "new")] == [False, True]
    assert (said["new"]["kind"], said["new"]["available"]) == ("postpaid", None)


def test_a_prepaid_account_is_asked_about_each_time_however_much_it_has() -> None:
    """What passes without a hold is unseen until its receipts come, and may be any number."""
    with closing(InMemory(rich=10**9)) as guard:
        answer = guard.ask("POST", "/v1/holds", json={**BODY, "account": "rich"}).json()
    assert (answer["kind"], answer["plenty"]) == ("prepaid", False)


@pytest.mark.parametrize(
    ("more", "content"),
    [
        ({"amount_credits": -1}, None),
        ({"amount_credits": 1.5}, None),
        ({"amount_credits": True}, None),
        ({"amount_credits": 10**13 + 1}, None),
        ({"amount_credits": None}, None),
        ({"amount_credits": None, "amount_usd": "NaN"}, None),
        ({"amount_credits": None, "amount_usd": "1e3"}, None),
        ({"amount_credits": None, "amount_usd": "-1"}, None),
        ({"estimate": CALL, "model": "mini"}, None),
        ({"estimate": CALL, "model": "mini", "amount_credits": None, "amount_usd": "1"}, None),
        ({"estimate": CALL, "amount_credits": None}, None),
        ({"estimate": CALL, "model": "", "amount_credits": None}, None),
        *(
            ({"estimate": {**CALL, **wrong}, "model": "mini", "amount_credits": None}, None)
            for wrong in (
                {"prompt_tokens": None},
                {"prompt_tokens": -1},
                {"prompt_tokens": "3"},
                {"prompt_tokens": 10**9 + 1},
                {"max_tokens": -1},
                {"max_tokens": 10**9 + 1},
                {"n": 0},
                {"n": 1_001},
                {"input_price_usd": "1e-7"},
                {"input_price_usd": "-1"},
                {"output_price_usd": "NaN"},
                {"output_price_usd": "1000"},
                {"output_price_usd": 0.1},
            )
        ),
        ({"account": ""}, None),
        ({"nonce": "a b"}, None),
        ({"expires_in_seconds": 0}, None),
        ({}, b"{"),
        ({}, b"[]"),
        ({}, b""),
    ],
)
def test_a_wrong_body_holds_nothing_and_is_told_why(
    guard: InMemory, more: dict[str, object], content: bytes | None
) -> None:
    headers = {"content-type": "application/json"}
    answer = (
        guard.ask("POST", "/v1/holds", json={**BODY, **more})
        if content is None
        else guard.ask("POST", "/v1/holds", content=content, headers=headers)
    )
    assert answer.status_code == 422
    assert answer.json()["error"]["type"] == "invalid_request"
    assert not guard.holds.batches


def estimated(guard: InMemory, model: str, **call: object) -> int:
    """The amount of an estimate, of an account without a limit."""
    body = {**BODY, "account": "rich", "amount_credits": None, "model": model}
    body["litellm_call_id"] = str(uuid4())
    answer = guard.ask("POST", "/v1/holds", json={**body, "estimate": {**CALL, **call}})
    assert answer.status_code == 200, answer.text
    return int(answer.json()["amount"])


def test_an_estimate_goes_by_learned_rates_then_the_price_then_the_last_resort(
    guard: InMemory,
) -> None:
    prices = {"input_price_usd": "0.000001", "output_price_usd": "0.000002"}
    # 1 and 2 credits a token of prompt and answer; all of it twice, as the markup says.
    guard.rates.replace({"mini": RATES})
    assert estimated(guard, "mini", **prices) == (3 + 4 * 2) * 2
    assert estimated(guard, "mini", max_tokens=None, n=3) == (3 + 3 * 7 * 2) * 2
    assert estimated(guard, "new", **prices) == (3 * 10 + 4 * 20) * 2
    assert estimated(guard, "new", max_tokens=None, input_price_usd="0.000001") == 3 * 10 * 2
    # A credit a token.
    assert estimated(guard, "new") == (3 + 4) * 2
    assert estimated(guard, "new", max_tokens=None) == (3 + 50) * 2


def test_a_model_that_is_known_to_be_free_holds_nothing(guard: InMemory) -> None:
    guard.rates.replace({"own": Rates("own", Decimal(0), Decimal(0), 0, 5)})
    assert estimated(guard, "own", prompt_tokens=10**9, output_price_usd="1") == 0


def test_an_estimate_holds_no_more_than_a_hold_may_be(guard: InMemory) -> None:
    assert estimated(guard, "new", prompt_tokens=10**9, input_price_usd="999") == 10**13


def test_a_model_has_the_rates_of_the_name_that_its_receipts_have(guard: InMemory) -> None:
    guard.rates.replace({identifier("x" * 9_000): RATES})
    assert estimated(guard, "x" * 9_000) == (3 + 4 * 2) * 2


def test_a_learner_that_fails_keeps_the_former_rates_and_tries_again() -> None:
    known, stop, turns = KnownRates(), Event(), list[str]()

    def learn() -> Mapping[str, Rates]:
        turns.append("")
        match len(turns):
            case 1:
                return {"mini": RATES}
            case 2:
                raise psycopg.OperationalError("away")
            case 3:
                raise ArithmeticError("no such amount")
            case 4:
                assert known.of("mini") is RATES
                return {"other": RATES}
            case _:
                stop.set()
                return {"other": RATES}

    before = learning_faults()
    thread = Thread(target=Learner(learn, known, stop, 0.01).run)
    thread.start()
    thread.join(NET_SECONDS)
    assert not thread.is_alive()
    assert (known.of("mini"), known.of("other")) == (None, RATES)
    assert learning_faults() == before + 2


def learning_faults() -> float:
    """Failures to learn that this process has counted."""
    labels = {"doing": "learning"}
    return REGISTRY.get_sample_value("billing_guard_faults_total", labels) or 0.0


def test_the_age_of_rates_is_told_from_the_start_on() -> None:
    times = [5.0]
    known = KnownRates(lambda: times[0])
    times[0] = 8.0
    assert known.age() == 3
    known.replace({})
    assert known.age() == 0


def test_text_that_no_table_takes_is_made_fit(guard: InMemory) -> None:
    strange = {**BODY, "account": "a\0b", "litellm_call_id": "x" * 9_000, "run_id": "\0"}
    answer = guard.ask("POST", "/v1/holds", json=strange)
    assert answer.json()["account"] == "a\ufffdb"
    [[asked]] = guard.holds.batches
    assert len(asked.litellm_call_id) < 1_024
    assert asked.run_id == "\ufffd"


def test_paths_and_methods_that_are_not_there_are_told_in_the_same_form(guard: InMemory) -> None:
    for method, path, status in (
        ("GET", "/", 404),
        ("GET", "/v1/accounts/", 404),
        ("GET", "/v1/holds", 405),
        ("POST", f"/v1/holds/{uuid4()}/release", 404),
        ("POST", "/v1/holds/x/release", 422),
        ("GET", "/v1/accounts/nobody", 404),
    ):
        answer = guard.ask(method, path)
        assert answer.status_code == status, path
        assert answer.json()["error"]["message"]


def test_a_movement_needs_a_key_and_another_token(guard: InMemory) -> None:
    path, body = "/v1/accounts/team%2Fa/entries", {"reason": "grant", "person": "ann"}
    body = {**body, "amount_usd": "1.5"}
    key = {"idempotency-key": "k"}
    assert guard.ask("POST", path, json=body, headers=key).status_code == 401
    assert guard.ask("POST", path, ADMIN_TOKEN, json=body).status_code == 422
    posted = [guard.ask("POST", path, ADMIN_TOKEN, json=body, headers=key) for _ in range(2)]
    assert [one.status_code for one in posted] == [201, 200]
    assert posted[0].json()["amount"] == 15_000_000
    other = guard.ask("POST", path, ADMIN_TOKEN, json={**body, "amount_usd": "2"}, headers=key)
    assert other.status_code == 409
    assert guard.ask("GET", "/v1/accounts/team/a").json()["balance"] == 15_000_000


@given(st.text(min_size=1), st.booleans())
def test_every_account_can_be_named_in_a_path(name: str, entries: bool) -> None:  # noqa: FBT001 - drawn
    name = name.encode("utf-8", "replace").decode().replace("\0", "?")
    raw = f"/v1/accounts/{quote(name, safe='')}{'/entries' if entries else ''}".encode()
    path, route = routed(raw)
    segments = path.removeprefix("/v1/accounts/").split("/")
    assert route == ("entries" if entries else "account")
    assert segments[1:] == (["entries"] if entries else [])
    assert account_of(segments[0]) == name


class Swept:
    """Books that tell what they are told, and fail first."""

    def __init__(self, *failures: LedgerError) -> None:
        self.failures = list(failures)
        self.overdue = 1_203
        self.forgotten = 0
        self.closed = False

    def expire(self, limit: int) -> int:
        """End holds."""
        if self.failures:
            raise self.failures.pop(0)
        done = min(limit, self.overdue)
        self.overdue -= done
        return done

    def forget(self, days: int, limit: int) -> int:
        """Delete holds."""
        assert (days, limit > 0) == (30, True)
        self.forgotten += 1
        return 0

    def figures(self) -> Figures:
        """Return figures."""
        return Figures(0, 0.0, 0)

    def close(self) -> None:
        """Note it."""
        self.closed = True


def swept(books: Swept, until: Event, health: Health) -> list[LedgerError]:
    """Sweep until `until` is set; with what it ended."""
    failed = list[LedgerError]()
    sweeper = Sweeper(books, health, until, failed.append, every_seconds=0.01, keep_days=30)
    thread = Thread(target=sweeper.run)
    thread.start()
    eventually(lambda: failed or not books.overdue, "the sweep")
    eventually(lambda: failed or books.forgotten, "the forgetting")
    until.set()
    thread.join(NET_SECONDS)
    assert books.closed
    return failed


def test_everything_overdue_is_swept_whatever_failed_before() -> None:
    books, health = Swept(psycopg.OperationalError("away")), Health(60)
    assert swept(books, Event(), health) == []
    assert health.ready() == {}


def test_a_sweep_that_can_never_succeed_is_the_end() -> None:
    error = psycopg.errors.UndefinedTable("no table")
    assert swept(Swept(error), Event(), Health(60)) == [error]


def test_a_row_that_somebody_keeps_is_no_database_that_is_away() -> None:
    """A probe that failed then would take every guard away from every account."""
    health, once, kept = Health(60), Event(), psycopg.errors.LockNotAvailable("kept")
    once.set()
    Sweeper(
        Swept(kept), health, once, list[LedgerError]().append, every_seconds=0.01, keep_days=30
    ).run()
    assert health.ready() == {}

    def refuse(_: HoldBooks) -> None:
        raise kept

    with closing(Books[HoldBooks](HoldsInMemory, 1, health)) as books:
        with pytest.raises(AwayError):
            asyncio.run(books.ask(refuse))
        assert health.ready() == {}


def test_health_names_what_is_missing() -> None:
    times = [0.0]
    health = Health(60, lambda: times[0])
    assert (health.live(), health.ready()) == ({}, {"postgresql": "does not answer"})
    health.away = False
    assert health.ready() == {}
    times[0] = 61.0
    assert health.live() == {"sweeper": "has done nothing for 61 s"}
    health.turned()
    assert health.live() == {}
    health.stopping = True
    assert health.ready() == {"spend_guard": "stops"}


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("SPEND_GUARD_TOKENS", "short", "has 5 characters"),
        ("SPEND_GUARD_TOKENS", ",", "holds no token"),
        ("SPEND_GUARD_TOKENS", ",".join(f"{n}" * 32 for n in range(3)), "3 tokens"),
        ("SPEND_GUARD_ADMIN_TOKENS", TOKEN, "share a token"),
        ("SPEND_GUARD_ADMIN_TOKENS", "ä" * 32, "a header cannot carry"),
        ("SPEND_GUARD_HOLD_S", "3601", "SPEND_GUARD_LONGEST_HOLD_S"),
        ("SPEND_GUARD_RATES_S", "0", "greater than 0"),
        ("ESTIMATE_QUANTILE", "1.01", "less than or equal to 1"),
        ("ESTIMATED_PRICE", "1", "unknown variable ESTIMATED_PRICE"),
        ("SPEND_GUARD_HOLDS", "1", "unknown variable SPEND_GUARD_HOLDS"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://billing@ledger.example/billing")
    monkeypatch.setenv("SPEND_GUARD_TOKENS", f"{TOKEN}, {OTHER_TOKEN}")
    assert load().tokens == [TOKEN, OTHER_TOKEN]
    assert load().plenty == 10**9
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=message) as refused:
        load()
    assert len(value) <= len("1.01") or value not in str(refused.value)
