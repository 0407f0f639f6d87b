"""Which result belongs to which create: never more receipts than creates, no result twice."""

import copy
import itertools
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging.outcomes import Charge, Decided
from tests.doubles.paired_book import Book
from tests.inputs.background import create, ended, finished, read, response
from tests.inputs.callbacks import decided


def cut(made: list[Decided], cuts: int) -> list[list[Decided]]:
    """Records in batches: a bit of `cuts` for each place where one ends."""
    found: list[list[Decided]] = [[]]
    for place, each in enumerate(made):
        found[-1].append(each)
        if cuts >> place & 1:
            found.append([])
    return found


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_04_four_events_of_a_response_in_every_order_and_batching_are_one_receipt(
    order: tuple[int, ...],
) -> None:
    events = [create(), read(), read(), read()]
    for cuts in range(8):
        book = Book()
        for batch in cut([decided(events[number]) for number in order], cuts):
            book.write(batch)
        (receipt,) = book.receipts.values()
        assert str(receipt.response_cost_usd) == "0.000044999999999999996"
        assert (receipt.run_id, receipt.billing_account_id) == ("run-bg", "acme")
        assert book.open() == []
        assert Counter(book.outcomes)["created"] == 1


def test_what_comes_first_waits_for_the_other() -> None:
    book = Book()
    assert book.post(read(), read()) == ["awaiting_create", "duplicate"]
    assert book.post(create()) == ["created"]
    assert book.post(read(), create()) == ["duplicate", "awaiting_result"]
    assert book.open() == ["awaiting_result"]


def test_a_second_result_of_one_create_is_for_a_person() -> None:
    book = Book()
    assert book.post(create(), read(), read(tokens=200), read(tokens=200)) == [
        "awaiting_result",
        "created",
        "ambiguous_read",
        "duplicate",
    ]
    assert len(book.receipts) == 1


def test_two_results_that_wait_are_for_a_person_until_there_are_creates_enough() -> None:
    book = Book()
    book.post(read(), read(tokens=200))
    assert book.post(create()) == ["awaiting_result"]
    assert book.receipts == {}
    assert book.post(create()) == ["created"]
    assert book.post(read(tokens=200)) == ["created"]
    assert book.open() == []
    assert len(book.receipts) == 2


def test_creates_that_differ_are_for_a_person() -> None:
    book = Book()
    book.post(create(), create(account="other"))
    assert book.post(read(), read()) == ["ambiguous_read", "duplicate"]
    assert book.receipts == {}
    assert book.open() == ["awaiting_result", "awaiting_result", "ambiguous_read"]


def test_a_second_read_may_be_of_the_other_response_and_waits_once() -> None:
    book = Book()
    book.post(create(), create())
    assert book.post(read(), read(), read()) == ["created", "ambiguous_read", "duplicate"]
    assert book.open() == ["awaiting_result", "ambiguous_read"]


def test_what_was_done_at_once_is_a_charge_of_its_own_and_its_reads_repeat_it() -> None:
    book = Book()
    assert book.post(finished(), read(), read()) == ["created", "duplicate", "duplicate"]
    assert book.post(finished()) == ["created"]
    assert len(book.receipts) == 2
    assert book.open() == []


def test_a_read_before_what_was_done_at_once_has_no_charge_of_its_own() -> None:
    book = Book()
    assert book.post(read()) == ["awaiting_create"]
    assert book.post(finished()) == ["created"]
    assert book.post(read()) == ["duplicate"]
    assert book.open() == []


def test_a_response_that_was_given_up_is_closed_without_a_charge() -> None:
    book = Book()
    assert book.post(create(), ended(), ended()) == ["awaiting_result", "skipped", "skipped"]
    assert book.open() == []
    assert book.receipts == {}
    assert book.post(read()) == ["ambiguous_read"]


@pytest.mark.parametrize("status", ["failed", "cancelled", "incomplete", "in_progress"])
def test_what_was_given_up_and_cost_something_is_charged_once(status: str) -> None:
    book = Book()
    cut_short = response(status)
    events = [read(response=cut_short) for _ in range(3)]
    assert book.post(create(), *events) == ["awaiting_result", "created", *["duplicate"] * 2]
    assert book.open() == []


def test_a_create_that_comes_with_a_cost_is_a_charge_of_its_own() -> None:
    book = Book()
    assert book.post(finished(response=response("queued")), read(), read()) == [
        "created",
        "duplicate",
        "duplicate",
    ]


def test_of_two_creates_nobody_knows_which_was_given_up() -> None:
    book = Book()
    book.post(create(), create(), ended())
    assert book.open() == ["awaiting_result", "awaiting_result"]


def test_a_record_that_is_read_again_after_a_crash_is_published_again_and_only_it() -> None:
    book = Book()
    first, ordered, later = decided(read()), decided(create()), decided(read())
    book.write([first])
    book.write([ordered, later])
    before = copy.deepcopy(book.state())
    assert book.write([first]) == ["duplicate"]
    assert book.write([ordered, later]) == ["replayed", "duplicate"]
    assert book.state() == before


MAKERS: dict[str, Callable[[str], bytes]] = {
    "create": lambda account: create(account=account),
    "read": lambda tokens: read(tokens=int(tokens)),
    "finished": lambda tokens: finished(tokens=int(tokens)),
    "ended": lambda _: ended(),
}
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.sampled_from(["acme", "other"])),
        st.tuples(st.just("read"), st.sampled_from([100, 150, 200])),
        st.tuples(st.just("finished"), st.sampled_from([100, 150])),
        st.tuples(st.just("ended"), st.none()),
        st.tuples(st.just("again"), st.integers(0, 7)),
    ),
    min_size=1,
    max_size=9,
)


@given(EVENTS, st.integers(0, 511))
def test_CHARGE_RECEIPTS_IDEMPOTENT_BY_CALL_ID_whatever_comes_in_whatever_order(
    events: list[tuple[str, object]], cuts: int
) -> None:
    made: list[Decided] = []
    for kind, what in events:
        if kind != "again":
            made.append(decided(MAKERS[kind](str(what))))
        elif made:
            made.append(made[int(str(what)) % len(made)])
    book = Book()
    for batch in cut(made, cuts):
        book.write(batch)
    kinds = Counter(kind for kind, _ in events)
    assert len(book.receipts) <= kinds["create"] + kinds["finished"]
    assert len(book.outcomes) == len(made)
    # Nothing that costs is without a row that a person can see.
    results = {
        each.decision.receipt.call_key
        for each in made
        if isinstance(each.decision, Charge) and each.decision.receipt.call_type == "aget_responses"
    }
    told = book.receipts.keys() | book.rows.keys()
    told |= {row.result_key for row in book.rows.values() if row.result_key}
    assert results <= told
    # Each receipt that took over a create closed it, and none closed two.
    closed = [row.result_key for row in book.rows.values() if row.resolution == "result"]
    assert len(closed) == len(set(closed))
    assert set(closed) <= book.receipts.keys()
    before = set(book.receipts)
    for _ in range(2):
        book.write(made)
        assert before <= book.receipts.keys()
        assert len(book.receipts) <= kinds["create"] + kinds["finished"]


@given(st.permutations([create, read, read, read]), st.integers(0, 15), st.integers(0, 15))
def test_a_replay_of_a_response_changes_nothing(
    makers: list[Callable[[], bytes]], cuts: int, others: int
) -> None:
    made = [decided(make()) for make in makers]
    book = Book()
    for batch in cut(made, cuts):
        book.write(batch)
    before = copy.deepcopy(book.state())
    assert len(book.receipts) == 1
    for batch in cut(made, others):
        book.write(batch)
    assert book.state() == before
    assert Counter(book.outcomes)["replayed"] == 1
