"""Whether the demo saw what it should have: the demo checks itself."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

import httpx

from demo.calls import Answer
from demo.ledger import Ledger
from demo.reconciling import Audit
from demo.spending import Run, Spending

_CREDITS_PER_USD = 10_000_000
_TINY_USD = Decimal("0.00000125")


@dataclass(frozen=True, kw_only=True)
class Check:
    """A sentence and whether it holds; `seen` says what was found instead."""

    sentence: str
    holds: bool
    seen: str = ""


def judge(answers: tuple[Answer, ...], ledger: Ledger, spent: Spending) -> tuple[Check, ...]:
    """Compare what the clients saw with what the ledger says.

    Returns:
        One check for each promise, in the order in which they are told.
    """
    return (
        _answered(answers),
        _outcomes(answers, ledger),
        _streams_without_cost(answers),
        _exact(answers, ledger),
        _tiny(ledger),
        _credits(ledger),
        _sums(ledger, spent),
    )


def judge_books(answers: tuple[Answer, ...], posted: int, audit: Audit) -> tuple[Check, ...]:
    """Compare what was lost with what the reconciler found, and LiteLLM's log with the books.

    Args:
        answers: what the clients saw.
        posted: how many lost calls the reconciler has posted.
        audit: what it said after their receipts were there.
    """
    lost = sum(answer.call.held for answer in answers)
    found = [] if posted == lost else [f"{posted} calls"]
    wrong = [] if audit.balanced else [f"{line.calls} {line.what}" for line in audit.lines]
    if audit.rows.calls != len(answers):
        wrong.append(f"{audit.rows.calls} rows of {len(answers)} calls")
    if audit.rows.log_usd != audit.rows.receipts_usd:
        wrong.append(f"{audit.rows.log_usd} USD, receipts: {audit.rows.receipts_usd} USD")
    return (
        _check("the reconciler found the call whose callback was lost, and no other", found),
        _check("LiteLLM's log and the books balance, to the call and to the last digit", wrong),
    )


def _answered(answers: tuple[Answer, ...]) -> Check:
    wrong = [
        f"{answer.call.kind}: {answer.status}"
        for answer in answers
        if (answer.status == httpx.codes.OK) == (answer.call.outcome == "skipped")
    ]
    sentence = "the clients got their answers, and the failing provider's client an error"
    return _check(sentence, wrong)


def _outcomes(answers: tuple[Answer, ...], ledger: Ledger) -> Check:
    places = Counter(row.litellm_call_id for row in ledger.receipts)
    waiting = Counter(row.litellm_call_id for row in ledger.deferred)
    wrong = []
    for answer in answers:
        wanted = (
            int(answer.call.outcome == "receipt"),
            int(answer.call.outcome == "deferred"),
        )
        if (places[answer.call_id], waiting[answer.call_id]) != wanted:
            wrong.append(f"{answer.call.kind} has no {answer.call.outcome} or too much")
    skipped = sum(count for (outcome, _), count in ledger.records.items() if outcome == "skipped")
    if skipped < sum(answer.call.outcome == "skipped" for answer in answers):
        wrong.append("the failed call was not counted as skipped")
    return _check("every call has exactly the one outcome that it should have", wrong)


def _streams_without_cost(answers: tuple[Answer, ...]) -> Check:
    wrong = [answer.call.kind for answer in answers if answer.call.stream and answer.cost]
    return _check("no streamed answer carried its cost in a header", wrong)


def _exact(answers: tuple[Answer, ...], ledger: Ledger) -> Check:
    receipts = {row.litellm_call_id: row for row in ledger.receipts}
    plain = {
        answer.call.model: answer.cost
        for answer in reversed(answers)  # the first wins: a repeat may come from the cache
        if answer.cost is not None
    }
    wrong = []
    for answer in answers:
        receipt = receipts.get(answer.call_id)
        figure = answer.cost if answer.cost is not None else plain.get(answer.call.model)
        if receipt and (figure is None or receipt.response_cost_usd != Decimal(figure)):
            wrong.append(f"{answer.call.kind}: {receipt.response_cost_usd} instead of {figure}")
    return _check(
        "every receipt has LiteLLM's own figure to the last digit, streamed or not", wrong
    )


def _tiny(ledger: Ledger) -> Check:
    rows = [row for row in ledger.receipts if row.model == "real-tiny"]
    wrong = [str(row.response_cost_usd) for row in rows if row.response_cost_usd != _TINY_USD]
    return _check(f"the tiny calls cost exactly {_TINY_USD:f} USD each", wrong)


def _credits(ledger: Ledger) -> Check:
    wrong = [
        f"{row.charged_usd} USD: {row.charged_credits} credits"
        for row in ledger.receipts
        if row.charged_credits
        != (row.charged_usd * _CREDITS_PER_USD).to_integral_value(ROUND_CEILING)
    ]
    return _check("credits are the charge times 10,000,000, rounded up once", wrong)


def _sums(ledger: Ledger, spent: Spending) -> Check:
    def total(rows: Sequence[Run]) -> tuple[Decimal, Decimal, int]:
        return (
            sum((row.response_cost_usd for row in rows), Decimal(0)),
            sum((row.charged_usd for row in rows), Decimal(0)),
            sum(row.charged_credits for row in rows),
        )

    receipts = (
        sum((row.response_cost_usd for row in ledger.receipts), Decimal(0)),
        sum((row.charged_usd for row in ledger.receipts), Decimal(0)),
        sum(row.charged_credits for row in ledger.receipts),
    )
    sums = {"runs": total(spent.runs), "sub-agents": total(spent.sub_agents)}
    wrong = [
        f"{name}: {value}, receipts: {receipts}"
        for name, value in sums.items()
        if value != receipts
    ]
    return _check("receipts, runs and sub-agents add up to the same totals, exactly", wrong)


def _check(sentence: str, wrong: list[str]) -> Check:
    return Check(sentence=sentence, holds=not wrong, seen="; ".join(wrong))
