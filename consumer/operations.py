"""The operator's commands: replay, and deferred calls. Those for dead letters stand beside it."""

import getpass
from collections import Counter
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import psycopg
import typer
from confluent_kafka import Consumer, KafkaException
from psycopg.rows import dict_row
from rich.progress import Progress
from rich.table import Table

from consumer import replay as replaying
from consumer import service, settlement
from consumer.address import connect
from consumer.cluster import reason as kafka_reason
from consumer.ledger import Ledger
from consumer.queries import query
from consumer.record import Settlement
from consumer.report import print_rows
from consumer.settings import Settings
from consumer.span import Span
from consumer.terminal import DATABASE, KAFKA, err, fail, out, place, settings
from schemas.topics import load_topics

deferred = typer.Typer(help="Calls that should have cost something: list, settle, waive.")

Moment = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d"])]
Apply = Annotated[bool, typer.Option("--apply", help="Do it; without it, only show.")]
By = Annotated[str, typer.Option(help="Who settles; the user's name unless given.")]
Note = Annotated[str, typer.Option(help="Why; kept with the deferral.", show_default=False)]


@contextmanager
def explained(found: Settings) -> Iterator[None]:
    """Turn what the services raise into a message and exit code 1."""
    try:
        yield
    except KafkaException as error:
        fail(f"Kafka at {found.kafka_bootstrap_servers}: {kafka_reason(error)}")
    except psycopg.errors.UndefinedTable:
        fail("the database has no ledger yet: run `python -m consumer migrate`")
    except psycopg.Error as error:
        fail(f"PostgreSQL: {str(error).strip()}. Check DATABASE_URL")
    except settlement.SettlementError as error:
        fail(str(error))


def replay(
    reason: Annotated[
        list[str] | None, typer.Option(help="Only dead letters of this reason; repeatable.")
    ] = None,
    since: Moment = None,
    until: Moment = None,
    from_time: Moment = None,
    from_offset: Annotated[
        list[str] | None,
        typer.Option(help="PARTITION:OFFSET; repeatable. Callbacks from there, not dead letters."),
    ] = None,
    apply: Apply = False,
) -> None:
    """Send dead letters through the front again, or rebuild the tables from a range of callbacks.

    Without --from-time and --from-offset: dead letters (--reason, --since, --until) go back to
    where they came from with their own key, bytes and headers. With one of them: callbacks from
    there up to what the group has committed are decided and written again; nothing is published,
    receipts keep their ids. Both are idempotent, and a dry run unless --apply is given. A time
    without a zone is local.
    """
    found = settings(KAFKA, DATABASE)
    with explained(found):
        if from_time or from_offset:
            _rebuild(found, from_time, from_offset or [], apply=apply)
        else:
            resend(found, set(reason or ()), since, until, apply=apply)


def resend(
    found: Settings,
    reasons: set[str],
    since: datetime | None,
    until: datetime | None,
    *,
    places: AbstractSet[tuple[int, int]] = frozenset(),
    apply: bool,
) -> None:
    """Send dead letters back: of these reasons and times, and where `places` says, if it does.

    Without `apply` it only counts them.
    """
    topics = load_topics(found.billing_topic_prefix)
    config = service.kafka_config(found)
    span = Span(config, topics.dead_letters.name)
    if since:
        span.since(since)
    if until:
        span.until(until)
    sender = service.sender_config(found)
    resender = replaying.Resender(sender, topics) if apply else None
    counts: Counter[tuple[str, bool]] = Counter()
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("reading dead letters", total=span.records)
        for letter in replaying.dead_letters(span, reasons):
            if places and (letter.record.partition, letter.record.offset) not in places:
                continue
            counts[letter.reason, letter.whole] += 1
            if resender and letter.whole:
                resender.send(letter)
            progress.advance(task)
    span.close()
    table = Table("reason", "dead letters", "")
    for (name, whole), count in sorted(counts.items()):
        remark = "" if whole else "parts of a body that was too large: cannot be replayed"
        table.add_row(name, str(count), remark)
    out.print(table)
    _conclude(counts, resender)


def _conclude(counts: Counter[tuple[str, bool]], resender: replaying.Resender | None) -> None:
    whole = sum(count for (_, complete), count in counts.items() if complete)
    if resender is None:
        out.print(f"dry run: add --apply to send {whole} back to where they came from")
    elif lost := resender.finish():
        fail(f"{lost} of {whole} did not arrive; run the same again")
    else:
        out.print(f"sent {whole} back to where they came from")


def _rebuild(
    found: Settings, from_time: datetime | None, from_offset: list[str], *, apply: bool
) -> None:
    topics = load_topics(found.billing_topic_prefix)
    span = Span(service.kafka_config(found), topics.callbacks.name)
    if from_time:
        span.since(from_time)
    if from_offset:
        span.first = _from_offsets(span, from_offset, topics.callbacks.name)
    member = Consumer(service.consumer_config(found))
    span.cut(replaying.committed(member, topics.callbacks.name, span.end))
    member.close()
    url = found.database_url.get_secret_value()
    ledger = Ledger(url, found.consumer_database_role) if apply else None
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("processing callbacks", total=span.records)
        counts = replaying.rebuild(
            span,
            service.policy(found, topics),
            ledger,
            lambda count: progress.advance(task, count),
        )
    span.close()
    table = Table("outcome", "reason", "records")
    for (outcome, why), count in sorted(counts.items()):
        table.add_row(outcome, why, str(count))
    out.print(table)
    out.print("done" if apply else "dry run: add --apply to write")


def _from_offsets(span: Span, from_offset: list[str], topic: str) -> dict[int, int]:
    first = dict(place(text) for text in from_offset)
    if unknown := first.keys() - span.end.keys():
        fail(f"no partition {min(unknown)} in {topic}", 2)
    for partition, offset in sorted(first.items()):
        if offset < (begins := span.first[partition]):
            fail(
                f"partition {partition} of {topic} begins at {begins}, Kafka has deleted what was"
                f" before: give --from-offset {partition}:{begins}",
                2,
            )
    return first


@deferred.command(name="list")
def list_deferred(
    settled: Annotated[bool, typer.Option("--settled", help="The settled ones as well.")] = False,
    waiting: Annotated[
        bool, typer.Option("--waiting", help="Also what waits for another callback since today.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="Most rows.")] = 50,
) -> None:
    """List deferred calls, the oldest first.

    A background response is told of by its order and by its reads. Where one of them is not there
    yet, the other waits, and is listed after a day.
    """
    found = settings(DATABASE)
    with explained(found), _connect(found) as connection:
        cursor = connection.cursor(row_factory=dict_row)
        chosen = {"settled": settled, "waiting": waiting, "limit": limit}
        rows = cursor.execute(query("list_deferred"), chosen)
        print_rows(out, "Deferred calls, the oldest first", rows.fetchall())


@deferred.command()
def settle(
    call: Annotated[str, typer.Argument(help="Its number, call key, or an id of it.")],
    cost: Annotated[str, typer.Option(help="What it cost, US dollars, before markup.")],
    note: Note,
    by: By = "",
) -> None:
    """Say what a deferred call cost. Its receipt is written by the consumer, as all are."""
    found = settings(KAFKA, DATABASE)
    cost_usd = _cost(cost)
    with explained(found), _connect(found) as connection:
        open_call = settlement.find(connection, call)
        record = settlement.original(service.kafka_config(found), open_call)
        sender = service.sender_config(found)
        said = Settlement(by or getpass.getuser(), note, open_call.call_key)
        settlement.send(sender, record, cost_usd, said)
    out.print(f"sent: the consumer writes the receipt of call {open_call.id} next")


@deferred.command()
def waive(
    call: Annotated[str, typer.Argument(help="Its number, call key, or an id of it.")],
    note: Note,
    by: By = "",
) -> None:
    """Close a deferred call without a receipt."""
    found = settings(DATABASE)
    with explained(found), _connect(found) as connection:
        open_call = settlement.find(connection, call)
        settlement.waive(connection, open_call, by or getpass.getuser(), note)
    out.print(f"waived call {open_call.id}")


def _connect(found: Settings) -> psycopg.Connection[Any]:
    return connect(found.database_url.get_secret_value(), "billing-operator")


def _cost(text: str) -> Decimal:
    try:
        cost = Decimal(text)
    except InvalidOperation:
        fail(f"--cost takes a decimal such as 0.0125, not {text!r}", 2)
    if not cost.is_finite() or cost <= 0:
        fail("--cost must be over 0; to charge nothing, use `deferred waive`", 2)
    return cost
