"""Receipts take credits in their own transaction, once, whatever comes again."""

import itertools
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier

import psycopg
import pytest
from psycopg import sql
from psycopg.errors import CheckViolation, RestrictViolation

from charging.outcomes import Decided
from ledger.debits import CreditTerms
from ledger.receipts import ReceiptWriter
from tests.databases.writing import ROLE, write
from tests.inputs.background import create, read
from tests.inputs.callbacks import costing, decided, element, policy
from tests.observers.credits import unbalanced
from tests.waiting import NET_SECONDS

RUN = {"run_id": "run-1", "attempt": 2}
MIXED = 40
MEMBERS = 3


class Credits:
    """What the tables say of credits, asked as a superuser."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)

    def close(self) -> None:
        self._connection.close()

    def accounts(self) -> dict[str, tuple[int, int]]:
        """Balance and held, by account."""
        rows = self._connection.execute(
            "SELECT billing_account_id, balance, held FROM billing.credit_accounts"
        )
        return {name: (balance, held) for name, balance, held in rows}

    def entries(self) -> list[tuple[str, int, int, int]]:
        """Account, amount, balance behind it and receipts, in their order."""
        return self._connection.execute(
            "SELECT billing_account_id, amount, balance, receipts FROM billing.credit_entries"
            " ORDER BY id"
        ).fetchall()

    def hold(self, amount: int, account: str = "acct-1", call: str = "call-1") -> str:
        """Place a hold, as the guard does."""
        with self._connection.transaction():
            self._connection.execute(
                "INSERT INTO billing.credit_accounts (billing_account_id, kind, held)"
                " VALUES (%(account)s, 'postpaid', %(amount)s)"
                " ON CONFLICT (billing_account_id) DO UPDATE"
                " SET held = credit_accounts.held + excluded.held",
                {"account": account, "amount": amount},
            )
            row = self._connection.execute(
                "INSERT INTO billing.credit_holds"
                " (billing_account_id, litellm_call_id, nonce, amount, expires_at)"
                " VALUES (%s, %s, gen_random_uuid(), %s, now() + interval '10 min') RETURNING id",
                [account, call, amount],
            ).fetchone()
        assert row
        return str(row[0])

    def state(self, hold: str) -> tuple[str, int | None, bool]:
        """State, captured amount, and whether it expires within three minutes."""
        row = self._connection.execute(
            "SELECT state, captured, expires_at < now() + interval '3 min'"
            " FROM billing.credit_holds WHERE id = %s",
            [hold],
        ).fetchone()
        assert row
        return row[0], row[1], row[2]

    def end(self, hold: str, state: str) -> None:
        """End a hold as the guard does: released or expired, its amount freed."""
        with self._connection.transaction():
            self._connection.execute(
                "WITH ended AS (UPDATE billing.credit_holds SET state = %s, ended_at = now()"
                " WHERE id = %s AND state = 'held' RETURNING billing_account_id, amount)"
                " UPDATE billing.credit_accounts AS account SET held = held - ended.amount"
                " FROM ended WHERE account.billing_account_id = ended.billing_account_id",
                [state, hold],
            )

    def faults(self) -> list[str]:
        """What does not add up."""
        return unbalanced(self._connection)


@pytest.fixture
def credits_(migrated_database_url: str) -> Iterator[Credits]:
    with closing(Credits(migrated_database_url)) as opened:
        yield opened


def held_call(hold: str, **fields: object) -> bytes:
    """A call with the hold that the guard's plugin has put in."""
    return element(**{"metadata": {"spend_logs_metadata": RUN | {"billing_hold": hold}}, **fields})


def test_a_receipt_is_debited_once_however_often_its_callback_comes(
    ledger: ReceiptWriter, credits_: Credits
) -> None:
    one, other = decided(element()), decided(costing("0.000005", id="2"))
    write(ledger, one, other, one)
    write(ledger, other)
    assert credits_.accounts() == {"acct-1": (-410, 0)}
    assert credits_.entries() == [("acct-1", -410, -410, 2)]


def test_a_batch_makes_one_entry_for_each_account(ledger: ReceiptWriter, credits_: Credits) -> None:
    calls = [decided(element(id=str(at), end_user=f"acct-{at % 3}")) for at in range(9)]
    write(ledger, *calls)
    write(ledger, decided(element(id="9", end_user="acct-0")))
    assert credits_.accounts() == {
        "acct-0": (-1440, 0),
        "acct-1": (-1080, 0),
        "acct-2": (-1080, 0),
    }
    assert credits_.entries() == [
        ("acct-0", -1080, -1080, 3),
        ("acct-1", -1080, -1080, 3),
        ("acct-2", -1080, -1080, 3),
        ("acct-0", -360, -1440, 1),
    ]
    assert credits_.faults() == []


def test_the_view_shows_each_receipt_of_a_debit(
    ledger: ReceiptWriter, migrated_database_url: str
) -> None:
    write(ledger, decided(element()), decided(costing("0.000005", id="2")))
    with psycopg.connect(migrated_database_url) as connection:
        rows = connection.execute(
            "SELECT amount, reference = charge_receipt_id::text, run_id FROM billing.credit_ledger"
            " ORDER BY 1"
        ).fetchall()
    assert rows == [(-360, True, "run-1"), (-50, True, "run-1")]


def test_a_receipt_of_nothing_moves_nothing(ledger: ReceiptWriter, credits_: Credits) -> None:
    free = policy(free=("gpt-4o-mini",))
    said = write(ledger, decided(element(response_cost=0), rules=free))
    assert said == ["created free_model"]
    assert (credits_.accounts(), credits_.entries()) == ({}, [])


def test_a_hold_is_captured_for_the_true_amount_and_the_rest_is_free(
    ledger: ReceiptWriter, credits_: Credits
) -> None:
    hold = credits_.hold(1_000)
    write(ledger, decided(held_call(hold)))
    assert credits_.state(hold) == ("captured", 360, False)
    assert credits_.accounts() == {"acct-1": (-360, 0)}


def test_a_hold_of_a_call_that_cost_nothing_is_free_again(
    ledger: ReceiptWriter, credits_: Credits
) -> None:
    hold = credits_.hold(1_000)
    write(ledger, decided(held_call(hold, response_cost=0, cache_hit=True)))
    assert credits_.state(hold) == ("captured", 0, False)
    assert credits_.accounts() == {"acct-1": (0, 0)}


@pytest.mark.parametrize("state", ["released", "expired"])
def test_a_late_receipt_is_charged_although_its_hold_has_ended(
    ledger: ReceiptWriter, credits_: Credits, state: str
) -> None:
    hold = credits_.hold(1_000)
    credits_.end(hold, state)
    write(ledger, decided(held_call(hold)))
    assert credits_.state(hold) == (state, None, False)
    assert credits_.accounts() == {"acct-1": (-360, 0)}


def test_a_receipt_that_comes_again_captures_nothing_more(
    ledger: ReceiptWriter, credits_: Credits
) -> None:
    first, second = credits_.hold(1_000), credits_.hold(500, call="call-2")
    write(ledger, decided(held_call(first)))
    write(ledger, decided(held_call(second)))
    assert credits_.state(second) == ("held", None, False)
    assert credits_.accounts() == {"acct-1": (-360, 500)}


def test_the_hold_of_a_failed_call_is_kept_a_little_for_its_fallback(
    ledger: ReceiptWriter, credits_: Credits
) -> None:
    hold = credits_.hold(1_000)
    write(ledger, decided(held_call(hold, status="failure", response_cost=0)))
    assert credits_.state(hold) == ("held", None, True)
    assert credits_.accounts() == {"acct-1": (0, 1_000)}
    write(ledger, decided(held_call(hold)))
    assert credits_.state(hold) == ("captured", 360, True)
    assert credits_.accounts() == {"acct-1": (-360, 0)}


@pytest.mark.parametrize("call_type", ["asystemone", "acreate_batch"])
def test_the_hold_of_a_call_that_costs_nothing_by_rule_is_free_soon(
    ledger: ReceiptWriter, credits_: Credits, call_type: str
) -> None:
    hold = credits_.hold(1_000)
    unused = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    call = held_call(hold, response_cost=0, call_type=call_type, **unused)
    write(ledger, decided(call))
    assert credits_.state(hold) == ("held", None, True)
    write(ledger, decided(call))
    assert credits_.accounts() == {"acct-1": (0, 1_000)}


def test_an_experiment_beside_a_call_leaves_it_its_hold(
    ledger: ReceiptWriter, credits_: Credits
) -> None:
    """LiteLLM copies the metadata of the call that it is made beside."""
    hold = credits_.hold(1_000)
    said = {"spend_logs_metadata": {"billing_hold": hold}, "is_silent_experiment": True}
    write(ledger, decided(element(id="beside", metadata=said)))
    assert credits_.state(hold) == ("held", None, False)
    write(ledger, decided(held_call(hold)))
    assert credits_.state(hold) == ("captured", 360, False)
    assert credits_.accounts() == {"acct-1": (-360, 0), "internal": (-360, 0)}


def test_members_that_capture_what_the_other_shortens_do_not_wait_for_each_other(
    ledger: ReceiptWriter, credits_: Credits, migrated_database_url: str
) -> None:
    """A request whose fallback is told to one member, and whose failure comes again to another."""

    def told(member: ReceiptWriter, together: Barrier, batch: list[Decided]) -> None:
        together.wait(NET_SECONDS)
        write(member, *batch)

    with (
        closing(ReceiptWriter(migrated_database_url, ROLE)) as other,
        ThreadPoolExecutor(2) as pool,
    ):
        for turn in range(40):
            holds = sorted(credits_.hold(10, call=f"{turn}/{at}") for at in range(40))
            low, high = holds[:20], holds[20:]
            batches = [
                [
                    *(decided(held_call(one, id=f"{one}-{turn}")) for one in captured),
                    *(
                        decided(held_call(one, id=f"{one}-f", status="failure", response_cost=0))
                        for one in failed
                    ),
                ]
                for captured, failed in ((high, low), (low, high))
            ]
            together = Barrier(2)
            for one in [
                pool.submit(told, member, together, batch)
                for member, batch in zip((ledger, other), batches, strict=True)
            ]:
                one.result(NET_SECONDS)
    assert credits_.faults() == []
    assert credits_.accounts() == {"acct-1": (-360 * 40 * 40, 0)}


@pytest.mark.parametrize("read_first", [False, True])
@pytest.mark.parametrize("batched", [False, True])
def test_the_hold_of_a_background_response_is_captured_by_the_receipt_of_its_result(
    *, ledger: ReceiptWriter, credits_: Credits, read_first: bool, batched: bool
) -> None:
    hold = credits_.hold(1_000, account="acme")
    events = [decided(create(hold=hold)), decided(read())]
    if read_first:
        events.reverse()
    if batched:
        write(ledger, *events)
    else:
        for one in events:
            write(ledger, one)
    assert credits_.state(hold) == ("captured", 450, False)
    assert credits_.accounts() == {"acme": (-450, 0)}


def test_a_hold_frees_its_own_account_and_the_receipt_charges_its_own(
    ledger: ReceiptWriter, credits_: Credits
) -> None:
    hold = credits_.hold(1_000, account="acct-0")
    write(ledger, decided(held_call(hold)))
    assert credits_.accounts() == {"acct-0": (0, 0), "acct-1": (-360, 0)}


@pytest.mark.parametrize(
    "odd", ["not-a-uuid", 7, {"a": 1}, "0" * 40, "1f0c53de-57a1-4d3b-8f0b-2b6f6f2f2c11", None]
)
def test_what_is_no_hold_of_ours_changes_nothing(
    ledger: ReceiptWriter, credits_: Credits, odd: object
) -> None:
    call = element(metadata={"spend_logs_metadata": RUN | {"billing_hold": odd}})
    assert write(ledger, decided(call)) == ["created usage"]
    assert credits_.accounts() == {"acct-1": (-360, 0)}


@pytest.mark.parametrize(
    ("unknown", "kind", "limit"), [("open", "postpaid", None), ("refuse", "prepaid", 0)]
)
def test_an_account_that_nobody_has_opened_begins_as_the_operator_says(
    migrated_database_url: str, unknown: str, kind: str, limit: int | None
) -> None:
    terms = CreditTerms(unknown="refuse" if unknown == "refuse" else "open")
    with closing(ReceiptWriter(migrated_database_url, ROLE, terms)) as ledger:
        write(ledger, decided(element()))
    with psycopg.connect(migrated_database_url) as connection:
        row = connection.execute(
            'SELECT kind, "limit", balance FROM billing.credit_accounts'
        ).fetchone()
    assert row == (kind, limit, -360)


def test_without_credits_a_receipt_knows_no_batch(
    migrated_database_url: str, credits_: Credits
) -> None:
    with closing(ReceiptWriter(migrated_database_url, ROLE, None)) as ledger:
        assert write(ledger, decided(element())) == ["created usage"]
    assert (credits_.accounts(), credits_.entries(), credits_.faults()) == ({}, [], [])


def test_a_balance_without_an_end_parks_the_call_and_not_its_neighbours(
    ledger: ReceiptWriter, credits_: Credits
) -> None:
    """It takes nine hundred milliards of dollars; whatever says so, no neighbour may suffer."""
    rules = policy(markup="100")
    giants = [
        decided(costing("999999999", id=f"giant-{at}"), rules=rules, offset=at) for at in range(12)
    ]
    said = write(ledger, *giants, decided(element(end_user="acct-2")))
    assert said == ["created usage"] * 9 + ["parked unstorable"] * 3 + ["created usage"]
    assert credits_.accounts()["acct-2"] == (-360, 0)
    assert credits_.faults() == []


def test_sums_hold_when_members_and_the_guard_work_at_once(
    migrated_database_url: str, credits_: Credits
) -> None:
    """Three members, hot accounts in every order, holds that are ended from two sides at once."""
    chance = random.Random(7)  # noqa: S311 - a schedule, no secret
    names = itertools.count()

    def batch() -> list[Decided]:
        calls = []
        for _ in range(MIXED):
            name, account = f"call-{next(names)}", f"acct-{chance.randrange(4)}"
            hold = credits_.hold(chance.randrange(1_000), account, name)
            holds.append(hold)
            calls.append(
                decided(
                    held_call(hold, id=name, litellm_call_id=name, end_user=account),
                    offset=next(names),
                )
            )
        chance.shuffle(calls)
        return calls

    holds: list[str] = []
    batches = [batch() for _ in range(4 * MEMBERS)]

    def member(number: int) -> None:
        with closing(ReceiptWriter(migrated_database_url, ROLE)) as ledger:
            for at in range(number, len(batches), MEMBERS):
                write(ledger, *batches[at])
                # Another member's, as after a rebalance.
                write(ledger, *batches[at - 1])

    def guard(number: int) -> None:
        with closing(Credits(migrated_database_url)) as other:
            for hold in holds[number::5]:
                other.end(hold, "released" if number else "expired")

    with ThreadPoolExecutor() as pool:
        working = [pool.submit(member, number) for number in range(MEMBERS)]
        working += [pool.submit(guard, number) for number in range(2)]
        for one in working:
            one.result(NET_SECONDS)
    assert credits_.faults() == []
    assert sum(held for _, held in credits_.accounts().values()) == 0
    assert sum(balance for balance, _ in credits_.accounts().values()) == -360 * len(holds)


@pytest.mark.parametrize("change", ["UPDATE", "DELETE"])
def test_entries_are_append_only_even_for_a_superuser(
    ledger: ReceiptWriter, migrated_database_url: str, change: str
) -> None:
    write(ledger, decided(element()))
    statements = {
        "UPDATE": "UPDATE billing.credit_entries SET amount = -1",
        "DELETE": "DELETE FROM billing.credit_entries",
    }
    with (
        psycopg.connect(migrated_database_url) as connection,
        pytest.raises(RestrictViolation),
    ):
        connection.execute(sql.SQL(statements[change]))


def test_no_account_holds_less_than_nothing(
    ledger: ReceiptWriter, migrated_database_url: str
) -> None:
    write(ledger, decided(element()))
    with (
        psycopg.connect(migrated_database_url) as connection,
        pytest.raises(CheckViolation),
    ):
        connection.execute("UPDATE billing.credit_accounts SET held = -1")
