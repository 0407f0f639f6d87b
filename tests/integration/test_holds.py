"""Holds against a real PostgreSQL: no account is overspent, and every hold is freed once.

TEST_CALLS says how many rounds of small races are run; TEST_SEED where they begin.
"""

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Barrier
from uuid import uuid4

import psycopg
import pytest

from ledger.admission import Answer, Ask, HoldRow
from ledger.healing import LedgerError
from ledger.holds import Holds
from tests.databases import credits as sql
from tests.databases.pgbouncer import PgBouncer
from tests.waiting import eventually

ROLE = "billing_guard"
ROUNDS = int(os.environ.get("TEST_CALLS") or 1_000)
SEED = int(os.environ.get("TEST_SEED") or 18)
CLIENTS = 4
LOCK_B = "SELECT FROM billing.credit_accounts WHERE billing_account_id = 'b' FOR UPDATE"
LOCK_MS = 20_000
"""Longer than whoever has a lock may need on a busy machine."""


@pytest.fixture
def make_holds(migrated_database_url: str) -> Iterator[Callable[[], Holds]]:
    """Opens the books of holds, each time over another connection."""
    with ExitStack() as opened:
        yield lambda: opened.enter_context(closing(Holds(migrated_database_url, ROLE, LOCK_MS)))


@pytest.fixture
def holds(make_holds: Callable[[], Holds]) -> Holds:
    """The books of holds."""
    return make_holds()


@pytest.fixture
def hurried(migrated_database_url: str) -> Iterator[Holds]:
    """Books that wait for no lock for long."""
    with closing(Holds(migrated_database_url, ROLE, 10)) as found:
        yield found


def seeded() -> random.Random:
    """Dice that fall the same way each time."""
    return random.Random(SEED)  # noqa: S311 - makes rounds, no secret


def ask(account: str, call: str, amount: int, nonce: str = "n", seconds: int = 600) -> Ask:
    """An ask of a call."""
    return Ask(account, call, nonce, amount, seconds)


def said(answers: list[Answer]) -> list[str]:
    """What became of asks."""
    return [one.answer for one in answers]


def hold_of(answer: Answer) -> HoldRow:
    """The hold that an answer is about."""
    assert answer.hold is not None
    return answer.hold


def test_what_an_account_can_afford_is_held_and_the_rest_is_refused(
    holds: Holds, migrated_database_url: str
) -> None:
    sql.opened(migrated_database_url, "acct", 100)
    answers = holds.place(
        [ask("acct", "a", 60), ask("acct", "b", 41), ask("acct", "c", 40), ask("acct", "d", 0)],
        "open",
    )
    assert said(answers) == ["held", "refused", "held", "free"]
    assert [one.available for one in answers] == [40, 40, 0, 0]
    assert [one.required for one in answers] == [60, 41, 40, 0]
    assert sql.account(migrated_database_url, "acct").held == 100
    # A hold counts for those who come later too.
    assert said(holds.place([ask("acct", "e", 1)], "open")) == ["refused"]
    assert sql.states(migrated_database_url) == [("held", 2)]
    assert not sql.wrong(migrated_database_url)


def test_a_hold_says_whose_it_is_and_until_when(holds: Holds, migrated_database_url: str) -> None:
    sql.opened(migrated_database_url, "acct", 100)
    before = datetime.now(UTC)
    [answer] = holds.place(
        [Ask("acct", "call", "nonce", 7, 90, run_id="run", attempt=3, model="gpt")], "open"
    )
    with psycopg.connect(migrated_database_url) as connection:
        row = connection.execute(
            "SELECT id, litellm_call_id, nonce, amount, run_id, attempt, model, state, expires_at "
            "FROM billing.credit_holds"
        ).fetchone()
    held = hold_of(answer)
    assert row == (held.id, "call", "nonce", 7, "run", 3, "gpt", "held", held.expires_at)
    assert timedelta(seconds=80) < held.expires_at - before < timedelta(seconds=150)


def test_the_same_ask_is_the_same_hold_whatever_it_asks_for_now(
    holds: Holds, migrated_database_url: str
) -> None:
    sql.opened(migrated_database_url, "acct", 100)
    first, twice = holds.place([ask("acct", "a", 60), ask("acct", "a", 30)], "open")
    [again] = holds.place([ask("acct", "a", 90)], "open")
    [another] = holds.place([ask("acct", "a", 40, nonce="other")], "open")
    assert said([first, twice, again, another]) == ["held", "known", "known", "held"]
    assert hold_of(first) == hold_of(twice) == hold_of(again)
    assert (again.required, again.available) == (60, 40)
    assert hold_of(another).id != hold_of(first).id
    holds.release(hold_of(first).id)
    [ended] = holds.place([ask("acct", "a", 60)], "open")
    assert (ended.answer, hold_of(ended).state) == ("known", "released")
    assert sql.account(migrated_database_url, "acct").held == 40


def test_an_account_that_nobody_has_opened_is_opened_postpaid_or_refused(
    holds: Holds, migrated_database_url: str
) -> None:
    sql.opened(migrated_database_url, "known", 10)
    asks = [ask("known", "a", 10), ask("new", "b", 10**12), ask("new", "c", 0)]
    assert said(holds.place(asks, "refuse")) == ["held", "unknown", "unknown"]
    assert said(holds.place(asks, "open")) == ["known", "held", "free"]
    assert sql.account(migrated_database_url, "new") == ("postpaid", 0, 10**12, None)


def test_names_of_accounts_and_calls_may_be_any_text(
    holds: Holds, migrated_database_url: str
) -> None:
    name = "team/ä %s {}\"',\\ 雪"
    assert said(holds.place([ask(name, name, 1)], "open")) == ["held"]
    assert sql.account(migrated_database_url, name).held == 1


def test_a_release_frees_once(holds: Holds, migrated_database_url: str) -> None:
    sql.opened(migrated_database_url, "acct", 100)
    first, second = (
        hold_of(one) for one in holds.place([ask("acct", "a", 60), ask("acct", "b", 40)], "open")
    )
    for _ in range(2):
        found = holds.release(first.id)
        assert found is not None
        assert (found.id, found.state) == (first.id, "released")
    assert sql.account(migrated_database_url, "acct").held == 40
    assert holds.release(uuid4()) is None
    sql.overdue(migrated_database_url)
    assert holds.expire(10) == 1
    found = holds.release(second.id)
    assert found is not None
    assert found.state == "expired"
    assert sql.account(migrated_database_url, "acct").held == 0


def test_what_is_overdue_expires_in_batches_and_nothing_else_does(
    holds: Holds, migrated_database_url: str
) -> None:
    for name in ("a", "b"):
        sql.opened(migrated_database_url, name, 1_000)
    holds.place([ask("ab"[n % 2], str(n), n + 1) for n in range(9)], "open")
    sql.overdue(migrated_database_url)
    holds.place([ask("a", "later", 500)], "open")
    assert [holds.expire(4) for _ in range(4)] == [4, 4, 1, 0]
    assert sql.states(migrated_database_url) == [("expired", 9), ("held", 1)]
    assert sql.account(migrated_database_url, "a").held == 500
    assert sql.account(migrated_database_url, "b").held == 0
    assert not sql.wrong(migrated_database_url)


def test_old_holds_that_have_ended_are_forgotten(holds: Holds, migrated_database_url: str) -> None:
    sql.opened(migrated_database_url, "acct", 100)
    placed = holds.place([ask("acct", str(n), 1) for n in range(6)], "open")
    for one in placed[:4]:
        holds.release(hold_of(one).id)
    assert holds.forget(1, 10) == 0
    with psycopg.connect(migrated_database_url) as connection:
        connection.execute(
            "UPDATE billing.credit_holds SET created_at = created_at - interval '2 days' "
            "WHERE litellm_call_id <> '0'"
        )
    assert [holds.forget(1, 2), holds.forget(1, 2)] == [2, 1]
    # One that is held stays, however old.
    assert sql.states(migrated_database_url) == [("held", 2), ("released", 1)]


def test_figures_tell_of_open_holds_and_of_accounts_below_their_limit(
    holds: Holds, migrated_database_url: str
) -> None:
    assert holds.figures().open == 0
    sql.opened(migrated_database_url, "in debt", -1)
    sql.opened(migrated_database_url, "within", -5, "postpaid", 5)
    sql.opened(migrated_database_url, "endless", -5, "postpaid", None)
    holds.place([ask("endless", "a", 1)], "open")
    found = holds.figures()
    assert (found.open, found.accounts_below_limit) == (1, 1)
    assert 0 <= found.oldest_seconds < 600


def test_an_account_that_another_transaction_has_holds_nobody_else_up(
    hurried: Holds, migrated_database_url: str
) -> None:
    for name in ("a", "b", "c"):
        sql.opened(migrated_database_url, name, 100)
    with psycopg.connect(migrated_database_url) as other:
        other.execute(LOCK_B)
        asks = [ask(name, "call", 1) for name in ("a", "b", "c", "new")]
        assert said(hurried.place(asks, "open")) == ["held", "locked", "held", "held"]
        assert said(hurried.place(asks, "open")) == ["known", "locked", "known", "known"]
        assert said(hurried.place(asks[1:2], "refuse")) == ["locked"]
    assert said(hurried.place(asks, "open")) == ["known", "held", "known", "known"]
    assert not sql.wrong(migrated_database_url)


def test_for_accounts_that_are_known_to_be_locked_nothing_is_tried(
    hurried: Holds, migrated_database_url: str
) -> None:
    with psycopg.connect(migrated_database_url) as connection:
        connection.execute(
            "INSERT INTO billing.usage_units (unit_id, run_id, attempt, billing_account_id,"
            " executor, finished_at, kafka_topic, kafka_partition, kafka_offset)"
            " VALUES (gen_random_uuid(), 'run', 0, 'payer', 'e', now(), 't', 0, 0)"
        )
    asks = [ask("a", "call", 1), Ask("b", "call", "n", 1, 600, run_id="run", of_run=True)]
    answers = hurried.place(asks, "open", {"payer"})
    assert said(answers) == ["held", "locked"]
    assert answers[1].account == "payer"
    assert said(hurried.place(asks, "open", {"a", "payer"})) == ["locked", "locked"]
    assert said(hurried.place(asks, "open")) == ["known", "held"]


def test_an_account_that_another_transaction_opens_is_asked_about_again(
    hurried: Holds, migrated_database_url: str
) -> None:
    with psycopg.connect(migrated_database_url) as other:
        other.execute(
            'INSERT INTO billing.credit_accounts (billing_account_id, kind, "limit") '
            "VALUES ('new', 'prepaid', 0)"
        )
        assert said(hurried.place([ask("new", "call", 1)], "open")) == ["locked"]
    assert said(hurried.place([ask("new", "call", 1)], "open")) == ["refused"]


def test_holds_of_a_locked_account_end_when_it_is_free_and_others_meanwhile(
    hurried: Holds, migrated_database_url: str
) -> None:
    asks = [ask(name, call, 1, seconds=0) for name in ("a", "b") for call in ("1", "2")]
    kept = hold_of(hurried.place([*asks, ask("b", "kept", 1)], "open")[-1])
    with psycopg.connect(migrated_database_url) as other:
        other.execute(LOCK_B)
        assert hurried.expire(10) == 2
        assert hurried.expire(10) == 0
        with pytest.raises(psycopg.errors.LockNotAvailable):
            hurried.release(kept.id)
    assert hurried.expire(10) == 2
    released = hurried.release(kept.id)
    assert released is not None
    assert released.state == "released"
    assert not sql.wrong(migrated_database_url)


def together(ready: Barrier, what: Callable[[], object]) -> None:
    """Do it when all others are about to do theirs."""
    ready.wait()
    what()


def test_a_connection_that_breaks_in_the_middle_leaves_all_or_nothing(
    make_holds: Callable[[], Holds], migrated_database_url: str
) -> None:
    sql.opened(migrated_database_url, "acct", 100)
    holds, asks = make_holds(), [ask("acct", "a", 60), ask("acct", "b", 40)]
    waits = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'billing-spend-guard' AND wait_event_type = 'Lock'"
    )
    with (
        ThreadPoolExecutor(1) as pool,
        psycopg.connect(migrated_database_url) as locking,
        psycopg.connect(migrated_database_url, autocommit=True) as killing,
    ):
        locking.execute("SELECT FROM billing.credit_accounts FOR UPDATE")
        placing = pool.submit(holds.place, asks, "open")
        [(pid,)] = eventually(
            lambda: killing.execute(waits).fetchall(), "it to wait for the account"
        )
        killing.execute("SELECT pg_terminate_backend(%s)", (pid,))
        with pytest.raises(LedgerError):
            placing.result()
    assert sql.account(migrated_database_url, "acct").held == 0
    # The next use connects anew.
    assert said(holds.place(asks, "open")) == ["held", "held"]
    assert not sql.wrong(migrated_database_url)


def test_what_the_tables_refuse_is_never_answered(holds: Holds, migrated_database_url: str) -> None:
    sql.opened(migrated_database_url, "acct", 100)
    # It is the last statement before the commit, and nobody waits for it alone.
    with pytest.raises(LedgerError):
        holds.place([ask("acct", "a", 1), ask("acct", "b", -1)], "open")
    assert sql.account(migrated_database_url, "acct").held == 0
    assert said(holds.place([ask("acct", "a", 1)], "open")) == ["held"]


def at_once(work: list[Callable[[], list[Answer]]]) -> list[Answer]:
    """Do all of it at the same moment."""
    ready = Barrier(len(work))

    def one(what: Callable[[], list[Answer]]) -> list[Answer]:
        ready.wait()
        return what()

    with ThreadPoolExecutor(len(work)) as pool:
        return [answer for found in pool.map(one, work) for answer in found]


def test_a_hundred_at_once_on_credits_for_some_calls_hold_exactly_those(
    make_holds: Callable[[], Holds], migrated_database_url: str
) -> None:
    sql.opened(migrated_database_url, "acct", 37 * 10 + 9)
    books = [make_holds() for _ in range(20)]

    def five(who: int) -> Callable[[], list[Answer]]:
        asks = [ask("acct", f"{who}-{n}", 10) for n in range(5)]
        return lambda: [one for each in asks for one in books[who].place([each], "open")]

    answers = at_once([five(who) for who in range(20)])
    assert Counter(said(answers)) == {"held": 37, "refused": 63}
    assert sql.account(migrated_database_url, "acct").held == 370
    assert not sql.wrong(migrated_database_url)


def test_two_asks_of_one_key_at_once_are_one_hold(
    make_holds: Callable[[], Holds], migrated_database_url: str
) -> None:
    books = [make_holds() for _ in range(CLIENTS)]
    for number in range(20):
        # The account is new as well: several open it at once.
        same = ask(f"acct-{number}", "call", 10)
        answers = at_once([partial(own.place, [same], "open") for own in books])
        assert Counter(said(answers)) == {"held": 1, "known": CLIENTS - 1}
        assert len({hold_of(one).id for one in answers}) == 1
    assert sql.states(migrated_database_url) == [("held", 20)]
    assert not sql.wrong(migrated_database_url)


def test_asks_over_many_accounts_in_any_order_never_meet_in_a_deadlock(
    make_holds: Callable[[], Holds], migrated_database_url: str
) -> None:
    dice, names = seeded(), [f"acct-{n}" for n in range(12)]
    books = [make_holds() for _ in range(CLIENTS)]

    def batches(who: int) -> Callable[[], list[Answer]]:
        made = [
            [ask(name, f"{who}-{n}", 1) for name in dice.sample(names, len(names))]
            for n in range(25)
        ]
        return lambda: [one for batch in made for one in books[who].place(batch, "open")]

    answers = at_once([batches(who) for who in range(CLIENTS)])
    assert Counter(said(answers)) == {"held": CLIENTS * 25 * len(names)}
    assert not sql.wrong(migrated_database_url)


def test_release_expiry_and_capture_at_once_free_a_hold_once(
    make_holds: Callable[[], Holds], migrated_database_url: str
) -> None:
    placing, releasing, expiring = make_holds(), make_holds(), make_holds()
    sql.opened(migrated_database_url, "acct", 1_000)
    ended = Counter[str]()
    with ThreadPoolExecutor(3) as pool:
        for number in range(60):
            [kept, held] = placing.place(
                [ask("acct", f"kept-{number}", 1), ask("acct", str(number), 10, seconds=0)], "open"
            )
            id_ = hold_of(held).id
            ready = Barrier(3)
            ends: list[Callable[[], object]] = [
                partial(releasing.release, id_),
                partial(expiring.expire, 10),
                partial(sql.capture, migrated_database_url, id_, 3),
            ]
            for one in [pool.submit(together, ready, end) for end in ends]:
                one.result()
            found = releasing.release(id_)
            assert found is not None
            ended[found.state] += 1
            assert sql.account(migrated_database_url, "acct").held == number + 1
            assert hold_of(kept).state == "held"
    assert set(ended) <= {"released", "expired", "captured"}
    assert not sql.wrong(migrated_database_url)


def test_a_pool_of_transactions_can_stand_between_and_finds_nothing_of_theirs(
    migrated_database_url: str,
) -> None:
    left = (
        "SELECT current_user = session_user, current_setting('lock_timeout'), "
        "current_setting('idle_in_transaction_session_timeout'), current_setting('TimeZone'), "
        "(SELECT count(*) FROM pg_prepared_statements)"
    )
    with psycopg.connect(migrated_database_url) as connection:
        untouched = connection.execute(left).fetchall()
    sql.opened(migrated_database_url, "acct", 150)
    with ExitStack() as opened:
        pooler = opened.enter_context(closing(PgBouncer(migrated_database_url, "transaction", 1)))
        pooler.start()
        books = [
            opened.enter_context(closing(Holds(pooler.url, ROLE, LOCK_MS))) for _ in range(CLIENTS)
        ]
        neighbour = opened.enter_context(
            psycopg.connect(pooler.url, autocommit=True, prepare_threshold=None)
        )
        for number in range(5):
            asks = [ask("acct", f"{number}-{who}", 10) for who in range(CLIENTS)]
            work = [partial(own.place, [one], "open") for own, one in zip(books, asks, strict=True)]
            at_once([*work])
            assert neighbour.execute(left).fetchall() == untouched
    assert sql.account(migrated_database_url, "acct").held == 150
    assert not sql.wrong(migrated_database_url)


def test_rounds_of_small_races_never_overspend(
    make_holds: Callable[[], Holds], migrated_database_url: str
) -> None:
    dice, books = seeded(), [make_holds() for _ in range(CLIENTS)]
    with psycopg.connect(migrated_database_url) as connection:
        connection.execute(
            'INSERT INTO billing.credit_accounts (billing_account_id, kind, "limit") '
            "SELECT 'round-' || n, 'prepaid', 0 FROM generate_series(1, %s) AS n",
            (ROUNDS,),
        )
    with (
        ThreadPoolExecutor(CLIENTS) as pool,
        psycopg.connect(migrated_database_url, autocommit=True) as connection,
    ):
        for number in range(1, ROUNDS + 1):
            name, price, calls = f"round-{number}", dice.randint(1, 10**9), dice.randint(1, 6)
            balance = price * calls + dice.randrange(price)
            connection.execute(
                "WITH granted AS (INSERT INTO billing.credit_entries "
                "(billing_account_id, reason, reference, amount, balance) "
                "VALUES (%(name)s, 'grant', %(name)s, %(balance)s, %(balance)s)) "
                "UPDATE billing.credit_accounts SET balance = %(balance)s "
                "WHERE billing_account_id = %(name)s",
                {"name": name, "balance": balance},
            )
            asks = [ask(name, str(n), price) for n in range(calls + dice.randint(0, 4))]
            parts = [asks[who::CLIENTS] for who in range(CLIENTS)]
            done = [
                pool.submit(own.place, part, "open")
                for own, part in zip(books, parts, strict=True)
                if part
            ]
            answers = [one for each in done for one in each.result()]
            assert said(answers).count("held") == min(calls, len(asks)), f"seed {SEED}, {name}"
    assert not sql.wrong(migrated_database_url)
