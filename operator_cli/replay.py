"""The command `replay`: dead letters back, or a range of callbacks through the ledger."""

from collections import Counter
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Annotated, Final

import typer
from confluent_kafka import Consumer
from rich.progress import Progress

from charging.settings import ChargingRules
from ledger.receipts import ReceiptWriter
from ledger.settings import DebitRules
from operator_cli.period import Period, moment_option, period_of
from operator_cli.resender import Resender, dead_letters, rebuild
from operator_cli.settings import Settings
from operator_cli.tables import Csv, Form, Json, form_of, remark, show
from operator_cli.terminal import (
    DATABASE,
    KAFKA,
    Apply,
    err,
    explained,
    fail,
    kafka,
    place,
    sender,
    settings,
)
from runtime.kafka import committed
from runtime.rows import Listing
from runtime.topic_range import TopicRange
from schemas.topics import load_topics

_ANSWER_SECONDS: Final = 15.0
Since = Annotated[datetime | None, moment_option("Parked then or later")]
Until = Annotated[datetime | None, moment_option("Parked before")]


def replay(
    reason: Annotated[
        list[str] | None, typer.Option(help="Only dead letters of this reason; repeatable.")
    ] = None,
    since: Since = None,
    until: Until = None,
    from_time: Annotated[
        datetime | None,
        moment_option("Callbacks that Kafka has since then, not dead letters"),
    ] = None,
    from_offset: Annotated[
        list[str] | None,
        typer.Option(help="PARTITION:OFFSET; repeatable. Rebuild from there."),
    ] = None,
    apply: Apply = False,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Rebuild the tables from a range of callbacks, or send dead letters back.

    With --from-time or --from-offset: decide the callbacks from there up to what the group has
    committed again, and write the rows that are missing. This publishes nothing, and receipts get
    the same ids. Markup, accounts, free models and credits are those of this command's
    environment, which it says first: give it the consumer's.

    Without them: send dead letters back, as `dead-letters replay` does. Both can be repeated
    without harm, and only show what they would do until --apply is given.
    """
    form = form_of(as_json=as_json, as_csv=as_csv)
    period = period_of(since, until)
    found = settings(KAFKA, DATABASE)
    with explained(found):
        if from_time or from_offset:
            _rebuild(found, from_time, from_offset or [], apply=apply, form=form)
        else:
            resend(found, set(reason or ()), period, apply=apply, form=form)


def resend(
    found: Settings,
    reasons: set[str],
    period: Period,
    *,
    places: AbstractSet[tuple[int, int]] = frozenset(),
    apply: bool,
    form: Form,
) -> None:
    """Send dead letters back: of these reasons and this time, and where `places` says, if it does.

    Without `apply` it only counts them.
    """
    topics = load_topics(found.billing_topic_prefix)
    config = kafka(found)
    topic_range = TopicRange(config, topics.dead_letters.name)
    narrow(topic_range, period)
    resender = Resender(sender(found), topics) if apply else None
    counts: Counter[tuple[str, bool]] = Counter()
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("reading dead letters", total=topic_range.records)
        for letter in dead_letters(topic_range, reasons):
            if places and (letter.record.partition, letter.record.offset) not in places:
                continue
            counts[letter.reason, letter.whole] += 1
            if resender and letter.whole:
                resender.send(letter)
            progress.advance(task)
    topic_range.close()
    part = "parts of a body that was too large: cannot be replayed"
    rows = [
        {"reason": name, "dead letters": count, "remark": "" if whole else part}
        for (name, whole), count in sorted(counts.items())
    ]
    say_parked(period, form)
    show("Dead letters", Listing(("reason", "dead letters", "remark"), rows), form)
    _conclude(counts, resender, form)


def narrow(topic_range: TopicRange, period: Period) -> None:
    """Leave the records of `period` in the range."""
    if period.since:
        topic_range.since(period.since)
    if period.until:
        topic_range.until(period.until)


def say_parked(period: Period, form: Form) -> None:
    """Say of which time the dead letters are, where one was given."""
    if str(period):
        remark(f"parked {period}", form)


def _conclude(counts: Counter[tuple[str, bool]], resender: Resender | None, form: Form) -> None:
    whole = sum(count for (_, complete), count in counts.items() if complete)
    if resender is None:
        remark(f"dry run: add --apply to send {whole} back to where they came from", form)
    elif lost := resender.finish():
        fail(f"{lost} of {whole} did not arrive; run the same again")
    else:
        remark(f"sent {whole} back to where they came from", form)


def _rebuild(
    found: Settings,
    from_time: datetime | None,
    from_offset: list[str],
    *,
    apply: bool,
    form: Form,
) -> None:
    remark(f"decided by these settings, which must be the consumer's: {rules(found)}", form)
    topics = load_topics(found.billing_topic_prefix)
    topic_range = TopicRange(kafka(found), topics.callbacks.name)
    if from_time:
        topic_range.since(from_time)
    if from_offset:
        topic_range.first = _from_offsets(topic_range, from_offset, topics.callbacks.name)
    member = Consumer(kafka(found) | {"group.id": found.consumer_group})
    places = [(topics.callbacks.name, partition) for partition in topic_range.end]
    answer = committed(member, places, _ANSWER_SECONDS)
    topic_range.cut({part.partition: max(part.offset, 0) for part in answer})
    member.close()
    url = found.database_url.get_secret_value()
    role, terms = found.consumer_database_role, found.credit_terms
    ledger = ReceiptWriter(url, role, terms) if apply else None
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("processing callbacks", total=topic_range.records)
        counts = rebuild(
            topic_range,
            found.policy(topics.usage_units.name),
            ledger,
            lambda count: progress.advance(task, count),
        )
    topic_range.close()
    rows = [
        {"outcome": str(outcome), "reason": str(why), "records": count}
        for (outcome, why), count in sorted(counts.items())
    ]
    if from_time:
        remark(f"callbacks {Period(from_time)}", form)
    title = "What became of the callbacks" if apply else "What would become of them"
    show(title, Listing(("outcome", "reason", "records"), rows), form)
    remark("done" if apply else "dry run: add --apply to write", form)


def rules(found: Settings) -> str:
    """Return the settings that callbacks are decided by, as an environment has them."""
    names = sorted({*ChargingRules.model_fields, *DebitRules.model_fields})
    return ", ".join(f"{name.upper()}={_spelled(getattr(found, name))}" for name in names)


def _spelled(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _from_offsets(topic_range: TopicRange, from_offset: list[str], topic: str) -> dict[int, int]:
    first = dict(place(text) for text in from_offset)
    if unknown := first.keys() - topic_range.end.keys():
        fail(f"no partition {min(unknown)} in {topic}", 2)
    for partition, offset in sorted(first.items()):
        if offset < (begins := topic_range.first[partition]):
            fail(
                f"partition {partition} of {topic} begins at {begins}; Kafka has deleted the "
                f"records before that: give --from-offset {partition}:{begins}",
                2,
            )
    return first
