"""The demo from start to end: stack, calls, a lost callback, outcomes, checks, stop."""

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime

import httpx
import psycopg
from rich.console import Console
from rich.live import Live

from demo import (
    calls,
    chosen,
    completion,
    control,
    ledger,
    loss,
    prepaid,
    report,
    run_tree,
    signing,
)
from demo.calls import Answer
from demo.prepaid import Prepaid
from demo.process import StackError
from demo.reconciling import Reconciler
from demo.settings import CONSUMER_GROUP
from demo.spending import spending
from demo.state import RunDirectory
from demo.verdict import Check, judge, judge_books, judge_credit, judge_total, judge_tree

_OUTCOME_SECONDS = 60
_TOLD_SECONDS = 1.0
_FREE_MODELS = "*-free"
_APART = "demo."
_WAITING = "waiting for LiteLLM's callbacks to become receipts"


def demonstrate(directory: RunDirectory, console: Console, *, keep: bool) -> bool:
    """Run the demo in `directory`; stop what it started, also when it is interrupted.

    Args:
        directory: a run directory in which nothing runs.
        console: where the demo is told.
        keep: leave the stack running.

    Returns:
        True when everything that was promised was seen.

    Raises:
        StackError: when the stack did not come up, or broke under the calls.
    """
    if directory.is_held():
        raise StackError(
            f"a demo already runs in {directory.path}: wait for it, or stop it with "
            f"`python -m demo down --directory {directory.path}`"
        )
    _heading(
        console, "Starting broker, database, gateway, consumer, guard, and LiteLLM as the caller"
    )
    control.start(
        directory,
        console,
        litellm=True,
        with_parent=not keep,
        environment=_environment(os.environ),
    )
    stopping = not keep
    try:
        return _show(directory, console)
    except (httpx.HTTPError, psycopg.Error) as error:
        crashes = " and ".join(_crashes(directory))
        why = f", as {crashes}" if crashes else ""
        raise StackError(
            f"the stack does not answer{why}: {error!r}; see the logs in {directory.logs}"
        ) from error
    except KeyboardInterrupt:
        stopping = True
        raise
    finally:
        if stopping:
            _heading(console, "Stopping")
            control.stop(directory, console)


def _crashes(directory: RunDirectory) -> list[str]:
    """Return in words what crashed; the supervisor needs a moment to see it."""
    until = time.monotonic() + _TOLD_SECONDS
    while True:
        state = directory.read_state()
        if (found := state.crashes() if state else []) or time.monotonic() > until:
            return found
        time.sleep(0.05)


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return what the demo sets on top of the environment that was given.

    Kafka that is not its own may have a stack on it, whose records the demo would take. Calls of
    accounts that nobody has opened are part of it, and so are balances.
    """
    declared = given.get("BILLING_FREE_MODELS", "")
    environment = {
        "BILLING_FREE_MODELS": ",".join(filter(None, (declared, _FREE_MODELS))),
        "BILLING_CREDITS": "true",
        "BILLING_UNKNOWN_ACCOUNT": "open",
        signing.KEYS: signing.keys(given),
        # No callback is on its way when the demo says that its run has ended.
        "CONSUMER_RUN_GRACE_SECONDS": given.get("CONSUMER_RUN_GRACE_SECONDS") or "1",
    }
    if given.get("KAFKA_BOOTSTRAP_SERVERS"):
        environment |= {
            "BILLING_TOPIC_PREFIX": _APART + given.get("BILLING_TOPIC_PREFIX", ""),
            "CONSUMER_GROUP": _APART + (given.get("CONSUMER_GROUP") or CONSUMER_GROUP),
        }
    return environment


def _show(directory: RunDirectory, console: Console) -> bool:
    reach = directory.read_environment()
    console.print()
    began = datetime.now(UTC)
    first = _make(console, reach)
    guarded, checks = _guarded(console, reach, first)
    *_, lost = (answer for answer in first if answer.call.held)
    _heading(console, "Killing LiteLLM before it sends the callback of one call")
    loss.lose_callback(directory, lost, reach["SPEND_LOG_URL"], reach["LITELLM_MASTER_KEY"])
    made = (*first, *guarded)
    reconciler = Reconciler(reach, _environment(os.environ), began)
    with console.status("comparing LiteLLM's spend log with the receipts"):
        posted = reconciler.post_what_is_lost()
        report.show_posted(console, posted)
        found = _wait_for(made, reach)
        audit = reconciler.audit()
        accounts = {answer.call.account for answer in made}
        spent = spending(reach["DATABASE_URL"], began, accounts)
    run_id = next(
        row.run_id
        for row in found.receipts
        for answer in made
        if answer.call.forged and answer.call_id == row.litellm_call_id and row.run_id
    )
    with console.status("waiting until other teams are told what the run has cost"):
        total = completion.complete(reach, run_id)
    told = run_tree.tree(reach["DATABASE_URL"], run_id)
    report.show(console, made, found, spent)
    report.show_tree(console, made, told, total)
    report.show_audit(console, audit)
    checks = (
        *judge(made, found, spent),
        judge_tree(made, found, told),
        judge_total(told[0], total),
        *checks,
        *judge_books(made, posted, audit),
    )
    report.show_checks(console, checks)
    report.show_next(console)
    return all(check.holds for check in checks)


def _make(console: Console, reach: Mapping[str, str]) -> tuple[Answer, ...]:
    """Make a call of each kind, and show each as it is answered."""
    table, answers = report.calls_table(), list[Answer]()
    with Live(table, console=console, auto_refresh=False) as live:
        for answer in calls.make(calls.plan(), reach["LITELLM_URL"], reach["LITELLM_MASTER_KEY"]):
            answers.append(answer)
            report.add_call(table, answer)
            live.refresh()
    console.print()
    return tuple(answers)


def _guarded(
    console: Console, reach: Mapping[str, str], first: tuple[Answer, ...]
) -> tuple[tuple[Answer, ...], tuple[Check, ...]]:
    """Make the calls of an account that can pay for some of them, and show what it has then.

    Args:
        console: where it is told.
        reach: the environment file of the stack.
        first: calls that were made before, whose receipts come meanwhile.

    Returns:
        What the clients saw, and whether the account has what it should; nothing where calls
        cost too little for that.
    """
    _heading(console, "Calls of an account that pays in advance")
    sent = tuple(answer for answer in first if not answer.call.held)
    markup = chosen.markup(os.environ)
    if why := prepaid.why_not(markup):
        console.print(f"left out: {why}", soft_wrap=True, highlight=False)
        with console.status(_WAITING):
            _wait_for(sent, reach)
        return (), ()
    account = Prepaid(reach["DATABASE_URL"], markup)
    console.print(f"$ {account.command}", soft_wrap=True, highlight=False)
    console.print(account.grant(), soft_wrap=True, highlight=False)
    proxy = reach["LITELLM_URL"], reach["LITELLM_MASTER_KEY"]
    afforded, refused = calls.prepaid(account.account)
    made = tuple(calls.make(afforded, *proxy))
    with console.status(_WAITING):
        _wait_for((*sent, *made), reach)
        made = (*made, *calls.make(refused, *proxy))
        credit = account.credit()  # no callback of a refused call changes it
        found = _wait_for((*sent, *made), reach)
    report.show_credit(console, made, credit)
    asked = prepaid.asked(reach["UPSTREAM_URL"], calls.DEAR_AT_PROVIDER)
    return made, judge_credit(made, found, credit, account.granted_usd, asked)


def _wait_for(answers: tuple[Answer, ...], reach: Mapping[str, str]) -> ledger.Ledger:
    return ledger.wait_for(
        answers, reach["DATABASE_URL"], reach["CONSUMER_METRICS_URL"], _OUTCOME_SECONDS
    )


def _heading(console: Console, text: str) -> None:
    console.print(f"\n[bold]{text}[/bold]")
