"""The demo checks itself: each broken promise is seen and named."""

from dataclasses import replace
from decimal import Decimal

import pytest

from demo.calls import Answer, Call, plan
from demo.completion import Total
from demo.ledger import Deferred, Ledger, Receipt
from demo.reconciling import Audit, Line
from demo.run_tree import Row
from demo.spending import Run, Spending, SubAgent
from demo.verdict import judge, judge_books, judge_total, judge_tree

TINY = Call(kind="tiny", model="real-tiny", account="acme")
STREAM = Call(kind="tiny, streamed", model="real-tiny", account="acme", stream=True)
UNPRICED = Call(kind="unknown", model="real-unpriced", account="acme", outcome="deferred")
FAILED = Call(kind="fails", model="real-err500", account="acme", outcome="skipped")

ANSWERS = (
    Answer(call=TINY, status=200, call_id="a", cost="1.25e-06"),
    Answer(call=STREAM, status=200, call_id="b", cost=None),
    Answer(call=UNPRICED, status=200, call_id="c", cost="0.0"),
    Answer(call=FAILED, status=500, call_id="d", cost="0"),
)


def receipt(call_id: str) -> Receipt:
    return Receipt(
        litellm_call_id=call_id,
        billing_account_id="acme",
        run_id=None,
        sub_agent_id=None,
        model="real-tiny",
        stream=None,
        tokens_in=8,
        tokens_out=4,
        charge_reason="usage",
        response_cost_usd=Decimal("0.00000125"),
        charged_usd=Decimal("0.00000125"),
        charged_credits=13,
    )


RUN = Run(
    run_id=None,
    calls=2,
    response_cost_usd=Decimal("0.0000025"),
    charged_usd=Decimal("0.0000025"),
    charged_credits=26,
)
SUB_AGENT = SubAgent(
    run_id=None,
    calls=2,
    response_cost_usd=Decimal("0.00000250"),
    charged_usd=Decimal("0.0000025"),
    charged_credits=26,
    sub_agent_id=None,
    parent_sub_agent_id=None,
)
WAITING = Deferred(
    litellm_call_id="c",
    model="real-unpriced",
    reason="suspicious_zero",
    tokens_in=8,
    tokens_out=4,
    suggested_cost_usd=None,
)
LEDGER = Ledger(
    receipts=(receipt("a"), receipt("b")),
    deferred=(WAITING,),
    records={("created", "usage"): 2, ("deferred", "suspicious_zero"): 1, ("skipped", "failed"): 1},
)


SPENT = Spending((RUN,), (SUB_AGENT,))


def broken(
    answers: tuple[Answer, ...] = ANSWERS, ledger: Ledger = LEDGER, spent: Spending = SPENT
) -> str:
    checks = judge(answers, ledger, spent)
    return "\n".join(f"{c.sentence}: {c.seen}" for c in checks if not c.holds)


def test_everything_holds() -> None:
    assert broken() == ""


def test_a_missing_receipt_is_named() -> None:
    assert "tiny, streamed" in broken(ledger=replace(LEDGER, receipts=LEDGER.receipts[:1]))


def test_a_second_receipt_of_a_call_is_named() -> None:
    doubled = replace(LEDGER, receipts=(*LEDGER.receipts, receipt("a")))
    assert "tiny has no receipt or too much" in broken(ledger=doubled)


def test_a_receipt_for_a_deferred_call_is_named() -> None:
    placeholder = replace(
        receipt("c"), response_cost_usd=Decimal(0), charged_usd=Decimal(0), charged_credits=0
    )
    assert "unknown" in broken(ledger=replace(LEDGER, receipts=(*LEDGER.receipts, placeholder)))


def test_a_failed_call_that_was_not_skipped_is_named() -> None:
    assert "skipped" in broken(ledger=replace(LEDGER, records={}))


def test_a_cost_that_differs_in_the_last_digit_is_named() -> None:
    off = replace(receipt("b"), response_cost_usd=Decimal("0.000001250000001"))
    assert "last digit" in broken(ledger=replace(LEDGER, receipts=(receipt("a"), off)))


def test_a_streamed_answer_with_a_cost_header_is_named() -> None:
    answers = (ANSWERS[0], replace(ANSWERS[1], cost="1.25e-06"), *ANSWERS[2:])
    assert "no streamed answer" in broken(answers)


def test_credits_rounded_down_are_named() -> None:
    down = replace(receipt("a"), charged_credits=12)
    assert "rounded up once" in broken(ledger=replace(LEDGER, receipts=(down, receipt("b"))))


def test_sums_that_differ_are_named() -> None:
    more = replace(RUN, charged_usd=Decimal("0.0000025000000001"))
    assert "add up" in broken(spent=replace(SPENT, runs=(more,)))


def test_an_error_for_a_client_that_should_have_had_an_answer_is_named() -> None:
    assert "tiny: 502" in broken((replace(ANSWERS[0], status=502), *ANSWERS[1:]))


LOST = Answer(call=replace(STREAM, held=True), status=200, call_id="e", cost=None)
ROWS = Line(what="rows", calls=5, log_usd=Decimal("0.1"), receipts_usd=Decimal("0.10"))
MISSING = Line(what="missing", calls=1, log_usd=Decimal("0.1"), receipts_usd=Decimal(0))
BALANCED = Audit(balanced=True, lines=(), rows=ROWS)


@pytest.mark.parametrize(
    ("posted", "audit", "seen"),
    [
        (1, BALANCED, ""),
        (0, BALANCED, "0 calls"),
        (2, BALANCED, "2 calls"),
        (1, replace(BALANCED, balanced=False, lines=(MISSING,)), "1 missing"),
        (1, replace(BALANCED, rows=replace(ROWS, calls=4)), "4 rows of 5 calls"),
        (1, replace(BALANCED, rows=replace(ROWS, receipts_usd=Decimal(0))), "0.1 USD, receipts: 0"),
    ],
)
def test_books_that_do_not_balance_are_named(posted: int, audit: Audit, seen: str) -> None:
    checks = judge_books((*ANSWERS, LOST), posted, audit)
    wrong = [check.seen for check in checks if not check.holds]
    assert bool(wrong) is bool(seen)
    assert seen in "".join(wrong)


def test_one_callback_of_the_plan_is_held_and_it_is_the_last() -> None:
    assert [call.held for call in plan()].index(True) == len(plan()) - 1


def test_every_streamed_model_of_the_plan_is_also_called_plainly() -> None:
    calls = plan()
    plain = {call.model for call in calls if not call.stream}
    assert {call.model for call in calls if call.stream} <= plain


SIGNED = Call(kind="signed", model="real-tiny", account="acme", metadata='{"billing_signature": 1}')
OF_A_RUN = (
    Answer(call=SIGNED, status=200, call_id="a", cost=None),
    Answer(call=replace(SIGNED, kind="other", forged=True), status=200, call_id="b", cost=None),
)
IN_A_RUN = replace(
    LEDGER, receipts=tuple(replace(receipt(name), run_id="trip") for name in ("a", "b"))
)


def tree(signature: str = "forged", usd: str = "0.0000025") -> list[Row]:
    """The tree of a run with an agent of two calls."""
    whole = Row(
        depth=0, kind="run", name="trip", calls=2, charged_usd=Decimal(usd), signature="mixed"
    )
    call = Row(
        depth=2, kind="call", name="a", calls=1, charged_usd=Decimal("0.00000125"),
        signature="signed",
    )  # fmt: skip
    agent = replace(whole, depth=1, kind="agent", name="writer", charged_usd=Decimal("0.0000025"))
    return [whole, agent, call, replace(call, name="b", signature=signature)]


@pytest.mark.parametrize(
    ("told", "seen"),
    [
        (tree(), ""),
        (tree(usd="0.00000251"), "receipts: 0.00000250; calls: 0.00000250; agents: 0.0000025"),
        (tree("signed"), "other is signed, not forged"),
        (tree()[:3], "calls: 0.00000125"),
    ],
)
def test_a_tree_that_does_not_add_up_or_believes_a_forger_is_named(
    told: list[Row], seen: str
) -> None:
    assert judge_tree(OF_A_RUN, IN_A_RUN, told).seen == seen


@pytest.mark.parametrize(
    ("calls", "usd", "open_calls", "seen"),
    [
        (2, "0.0000025", 0, ""),
        (1, "0.0000025", 0, "told: (1, Decimal('0.0000025'), 0)"),
        (2, "0.0000024", 0, "told: (2, Decimal('0.0000024'), 0)"),
        (2, "0.0000025", 1, "told: (2, Decimal('0.0000025'), 1)"),
    ],
)
def test_a_total_that_is_not_the_run_is_named(
    calls: int, usd: str, open_calls: int, seen: str
) -> None:
    total = Total(calls, Decimal(usd), open_calls, 1.0)
    assert judge_total(tree()[0], total).seen == seen
