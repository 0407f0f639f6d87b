"""The operator's commands for dead letters: list them, look at one, send them back."""

import hashlib
import heapq
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Annotated, Any, Final

import typer

from operator_cli.period import ALWAYS, Period, period_of
from operator_cli.replay import Since, Until, narrow, resend, say_parked
from operator_cli.resender import DeadLetter
from operator_cli.resender import dead_letters as letters_of
from operator_cli.settings import Settings
from operator_cli.sightings import moment
from operator_cli.tables import (
    Csv,
    Form,
    Json,
    MostRows,
    form_of,
    remark,
    show,
    show_json,
)
from operator_cli.terminal import (
    KAFKA,
    Apply,
    examples,
    explained,
    fail,
    kafka,
    place,
    settings,
)
from runtime.rows import Listing
from runtime.topic_range import TopicRange
from schemas import headers as names
from schemas.callback import ContractError
from schemas.headers import header
from schemas.reader import Values, read_values
from schemas.record import Provenance, Record
from schemas.topics import load_topics

dead_letters = typer.Typer(
    help="Records that could not be billed as they stand: list, show, replay.",
    epilog=examples("dead-letters list", "dead-letters show 1:120"),
)

Reasons = Annotated[list[str] | None, typer.Option("--reason", help="Only this one; repeatable.")]
At = Annotated[str, typer.Argument(help="Its place, PARTITION:OFFSET, as `list` shows it.")]

_SAID: Final = (
    *("id", "litellm_call_id", "call_type", "status", "model", "model_group"),
    *("custom_llm_provider", "response_cost", "prompt_tokens", "completion_tokens"),
)
"""What a dead letter may say about itself without showing anybody's content."""
_MOST: Final = 200
_NAMES: Final = ("at", "parked", "reason", "detail", "source", "stood at", "bytes")


@dead_letters.command(
    name="list",
    epilog=examples(
        "dead-letters list",
        "dead-letters list --reason contract_broken --since 2026-11-01 --json",
    ),
)
def list_dead_letters(
    *,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    limit: MostRows = 50,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """List dead letters, the oldest first: where, when, why and from where. Shows no content."""
    form = form_of(as_json=as_json, as_csv=as_csv)
    period = period_of(since, until)
    found = settings(KAFKA)
    with explained(found), _topic_range(found, period) as topic_range:
        letters = letters_of(topic_range, set(reason or ()))
        oldest = heapq.nsmallest(limit, letters, key=_age)
        rows = [_row(letter) for letter in oldest]
    say_parked(period, form)
    show("Dead letters, the oldest first", Listing(_NAMES, rows), form)


def _age(letter: DeadLetter) -> tuple[int, Provenance]:
    """Those of one batch may be of one millisecond: they stand in the order of their places."""
    return letter.record.timestamp_ms, letter.record.provenance


@dead_letters.command(
    name="show",
    epilog=examples("dead-letters show 1:120", "dead-letters show 1:120 --content --json"),
)
def show_dead_letter(
    at: At,
    *,
    content: Annotated[
        bool, typer.Option("--content", help="Also the value, which may hold prompts and answers.")
    ] = False,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Show one dead letter: its headers, and what its value says without prompts and answers."""
    form = form_of(as_json=as_json, as_csv=as_csv)
    found = settings(KAFKA)
    partition, offset = place(at)
    with explained(found), _topic_range(found) as topic_range:
        if partition not in topic_range.end:
            fail(f"the dead-letter topic has no partition {partition}", 2)
        if not topic_range.first[partition] <= offset < topic_range.end[partition]:
            fail(f"there is no dead letter at {at}: see `dead-letters list`")
        topic_range.only(partition, offset)
        record = next((one for batch in topic_range for one in batch), None)
    if record is None:
        fail(f"there is no dead letter at {at}: see `dead-letters list`")
    told = _told(record) | (_content(record) if content else {})
    if form is Form.JSON:
        show_json(told)
        return
    show(f"The dead letter at {told['at']}", Listing(("what", "is"), _lines(told)), form)
    if told["says"] is None:
        remark("the value cannot be read; --content shows it", form)


@dead_letters.command(
    epilog=examples(
        "dead-letters replay",
        "dead-letters replay --reason contract_broken --since 2026-11-01 --apply",
        "dead-letters replay --at 1:120 --apply",
    ),
)
def replay(
    *,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    at: Annotated[
        list[str] | None, typer.Option(help="Only the one at PARTITION:OFFSET; repeatable.")
    ] = None,
    apply: Apply = False,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Send dead letters back to where they came from, with their own key, bytes and headers.

    Without --apply it only counts them. A call that has a receipt keeps it.
    """
    form = form_of(as_json=as_json, as_csv=as_csv)
    period = period_of(since, until)
    found = settings(KAFKA)
    places = {place(text) for text in at or ()}
    with explained(found):
        resend(found, set(reason or ()), period, places=places, apply=apply, form=form)


@contextmanager
def _topic_range(found: Settings, period: Period = ALWAYS) -> Iterator[TopicRange]:
    topics = load_topics(found.billing_topic_prefix)
    topic_range = TopicRange(kafka(found), topics.dead_letters.name)
    try:
        narrow(topic_range, period)
        yield topic_range
    finally:
        topic_range.close()


def _row(letter: DeadLetter) -> dict[str, Any]:
    record, stood = letter.record, _stood(letter.record)
    return {
        "at": f"{record.partition}:{record.offset}",
        "parked": moment(record.timestamp_ms),
        "reason": letter.reason,
        "detail": header(record.headers, names.REASON_DETAIL),
        "source": header(record.headers, names.SOURCE),
        "stood at": stood,
        "bytes": record.size,
    }


def _stood(record: Record) -> str | None:
    """Where the record stood; None where the gateway parked what never stood anywhere."""
    said = (names.ORIGINAL_TOPIC, names.ORIGINAL_PARTITION, names.ORIGINAL_OFFSET)
    parts = [header(record.headers, name) for name in said]
    return None if None in parts else "/".join(str(part) for part in parts)


def _told(record: Record) -> dict[str, Any]:
    return {
        "at": f"{record.partition}:{record.offset}",
        "parked": moment(record.timestamp_ms),
        "key": _shown(record.key),
        "headers": [[name, _shown(value)] for name, value in record.headers],
        "bytes": record.size,
        "sha256": hashlib.sha256(record.value or b"").hexdigest(),
        "says": _says(record.value or b""),
    }


def _says(value: bytes) -> dict[str, str] | None:
    """Return what the value says about its call; None where it cannot be read."""
    try:
        said: Values = read_values(value)[0]
    except ContractError:
        return None
    scalars = (str, int, float, Decimal)
    return {name: str(said[name])[:_MOST] for name in _SAID if isinstance(said.get(name), scalars)}


def _content(record: Record) -> dict[str, str]:
    value = record.value or b""
    try:
        return {"value": value.decode()}
    except UnicodeDecodeError:
        return {"value_base64": b64encode(value).decode()}


def _shown(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "backslashreplace")


def _lines(told: dict[str, Any]) -> list[dict[str, Any]]:
    lines = [(name, told[name]) for name in ("at", "parked", "key", "bytes", "sha256")]
    lines += [(f"header {name}", value) for name, value in told["headers"]]
    lines += [(f"says {name}", value) for name, value in (told["says"] or {}).items()]
    lines += [(name, told[name]) for name in ("value", "value_base64") if name in told]
    return [{"what": name, "is": "null" if value is None else value} for name, value in lines]
