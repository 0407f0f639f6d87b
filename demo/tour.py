"""The demo from start to end: stack, calls, a lost callback, outcomes, checks, stop."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime

import httpx
import psycopg
from rich.console import Console
from rich.live import Live

from demo import calls, control, ledger, loss, report
from demo.calls import Answer
from demo.process import StackError
from demo.reconciling import Reconciler
from demo.settings import CONSUMER_GROUP
from demo.spending import spending
from demo.state import RunDirectory
from demo.verdict import judge, judge_books

_OUTCOME_SECONDS = 60
_FREE_MODELS = "*-free"
_APART = "demo."


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
    _heading(console, "Starting broker, database, gateway, consumer, and LiteLLM as the caller")
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
        raise StackError(
            f"the stack does not answer: {error!r}; see the logs in {directory.logs}"
        ) from error
    except KeyboardInterrupt:
        stopping = True
        raise
    finally:
        if stopping:
            _heading(console, "Stopping")
            control.stop(directory, console)


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return what the demo sets on top of the environment that was given.

    Kafka that is not its own may have a stack on it, whose records the demo would take.
    """
    declared = given.get("BILLING_FREE_MODELS", "")
    environment = {"BILLING_FREE_MODELS": ",".join(filter(None, (declared, _FREE_MODELS)))}
    if given.get("KAFKA_BOOTSTRAP_SERVERS"):
        environment |= {
            "BILLING_TOPIC_PREFIX": _APART + given.get("BILLING_TOPIC_PREFIX", ""),
            "CONSUMER_GROUP": _APART + (given.get("CONSUMER_GROUP") or CONSUMER_GROUP),
        }
    return environment


def _show(directory: RunDirectory, console: Console) -> bool:
    reach = directory.read_environment()
    console.print()
    table = report.calls_table()
    answers, began = [], datetime.now(UTC)
    with Live(table, console=console, auto_refresh=False) as live:
        for answer in calls.make(calls.plan(), reach["LITELLM_URL"], reach["LITELLM_MASTER_KEY"]):
            answers.append(answer)
            report.add_call(table, answer)
            live.refresh()
    made = tuple(answers)
    console.print()
    sent = tuple(answer for answer in made if not answer.call.held)
    with console.status("waiting for LiteLLM's callbacks to become receipts"):
        _wait_for(sent, reach)
    *_, lost = (answer for answer in made if answer.call.held)
    _heading(console, "Killing LiteLLM before it sends the callback of the last call")
    loss.lose_callback(directory, lost, reach["SPEND_LOG_URL"], reach["LITELLM_MASTER_KEY"])
    reconciler = Reconciler(reach, _environment(os.environ), began)
    with console.status("comparing LiteLLM's spend log with the receipts"):
        posted = reconciler.post_what_is_lost()
        report.show_posted(console, posted)
        found = _wait_for(made, reach)
        audit = reconciler.audit()
        accounts = {answer.call.account for answer in made}
        spent = spending(reach["DATABASE_URL"], began, accounts)
    report.show(console, made, found, spent)
    report.show_audit(console, audit)
    checks = (*judge(made, found, spent), *judge_books(made, posted, audit))
    report.show_checks(console, checks)
    report.show_next(console)
    return all(check.holds for check in checks)


def _wait_for(answers: tuple[Answer, ...], reach: Mapping[str, str]) -> ledger.Ledger:
    return ledger.wait_for(
        answers, reach["DATABASE_URL"], reach["CONSUMER_METRICS_URL"], _OUTCOME_SECONDS
    )


def _heading(console: Console, text: str) -> None:
    console.print(f"\n[bold]{text}[/bold]")
