"""Whether the demo saw what it should have: the demo checks itself."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

import httpx

from demo.calls import Answer
from demo.completion import Total
from demo.ledger import Ledger
from demo.prepaid import Credit
from demo.reconciling import Audit
from demo.run_tree import Row
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


def judge_tree(answers: tuple[Answer, ...], ledger: Ledger, tree: Sequence[Row]) -> Check:
    """Compare the tree of a run with its receipts, and its signatures with who signed.

    Args:
        answers: what the clients saw.
        ledger: what became of the calls.
        tree: the run, its agents and their calls.
    """
    run, *below = tree
    calls = [row for row in below if row.kind == "call"]
    receipts = [row.charged_usd for row in ledger.receipts if row.run_id == run.name]
    sums = {
        "receipts": sum(receipts, Decimal(0)),
        "calls": sum((row.charged_usd for row in calls), Decimal(0)),
        "agents": sum((row.charged_usd for row in below if row.depth == 1), Decimal(0)),
    }
    wrong = [f"{name}: {usd}" for name, usd in sums.items() if usd != run.charged_usd]
    made = {answer.call_id: answer.call for answer in answers}
    for row in calls:
        call = made[row.name]
        signed = "billing_signature" in call.metadata
        wanted = "forged" if call.forged else "signed" if signed else "unsigned"
        if row.signature != wanted:
            wrong.append(f"{call.kind} is {row.signature}, not {wanted}")
    return _check(
        "the tree of a run adds up to the run, and says which names are signed and which forged",
        wrong,
    )


def judge_total(run: Row, total: Total) -> Check:
    """Compare what other teams were told when the run had ended with the run."""
    said = (total.calls, total.charged_usd, total.open_calls)
    wrong = [] if said == (run.calls, run.charged_usd, 0) else [f"told: {said}"]
    return _check("other teams were told what the run has cost, to the last digit", wrong)


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


def judge_credit(
    answers: tuple[Answer, ...], ledger: Ledger, credit: Credit, granted_usd: Decimal, asked: int
) -> tuple[Check, ...]:
    """Compare what a prepaid account was granted with what its calls did.

    Args:
        answers: what the clients saw of its calls.
        ledger: what became of them, and of others.
        credit: what the account has afterwards.
        granted_usd: what it was given before.
        asked: how often its model was asked, by the provider's own count.
    """
    return (
        _refused(answers, credit.account),
        _not_asked(answers, asked),
        _balance(answers, ledger, credit, granted_usd),
    )


def _refused(answers: tuple[Answer, ...], account: str) -> Check:
    wrong = []
    for answer in answers:
        refused = answer.call.outcome == "skipped"
        wanted = httpx.codes.PAYMENT_REQUIRED if refused else httpx.codes.OK
        if answer.status != wanted:
            wrong.append(f"{answer.call.kind}: {answer.status}")
        elif refused and not (account in answer.message and "not enough credit" in answer.message):
            wrong.append(f"{answer.call.kind} was told: {answer.message}")
    return _check(
        "prepaid calls were answered while they could be paid for, then refused with 402", wrong
    )


def _not_asked(answers: tuple[Answer, ...], asked: int) -> Check:
    wanted = sum(answer.call.outcome == "receipt" for answer in answers)
    wrong = [] if asked == wanted else [f"asked {asked} times, {wanted} calls were afforded"]
    return _check("no model was asked for a call that was refused", wrong)


def _balance(
    answers: tuple[Answer, ...], ledger: Ledger, credit: Credit, granted_usd: Decimal
) -> Check:
    ids = {answer.call_id for answer in answers if answer.call.outcome == "receipt"}
    mine = [row for row in ledger.receipts if row.billing_account_id == credit.account]
    spent = Decimal(sum(row.charged_credits for row in mine)) / _CREDITS_PER_USD
    wrong = []
    if {row.litellm_call_id for row in mine} != ids or len(mine) != len(ids):
        wrong.append(f"{len(mine)} receipts")
    if credit.balance_usd != granted_usd - spent:
        wrong.append(f"{granted_usd} USD granted, {spent} spent, {credit.balance_usd} left")
    if sum(one.amount_usd for one in credit.movements) != credit.balance_usd:
        wrong.append(f"the movements are not the balance of {credit.balance_usd} USD")
    if credit.held_usd or credit.available_usd != credit.balance_usd:
        wrong.append(f"{credit.held_usd} USD held, {credit.available_usd} available")
    captured = [one.litellm_call_id for one in credit.holds if one.state == "captured"]
    if len(captured) != len(credit.holds) or sorted(captured) != sorted(ids):
        holds = f"{len(captured)} of {len(credit.holds)} holds captured"
        wrong.append(f"{holds}, {len(ids)} calls were to have one")
    return _check(
        "the prepaid account has what it was granted less its receipts, and nothing is held", wrong
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
