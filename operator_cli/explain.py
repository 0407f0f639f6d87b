"""The command `explain`: what became of a call, told from the ledger and, where it is, Kafka."""

from contextlib import nullcontext
from typing import Annotated, Any, Final

import typer
from confluent_kafka import KafkaException
from rich.progress import Progress

from ledger.calls import Books, books_of
from operator_cli.search import Bounds, Looked, look
from operator_cli.settings import Settings
from operator_cli.sightings import Sought, letter_of, seen_of
from operator_cli.story import Evidence, Row, keys_of, provenances_of, stories
from operator_cli.tables import (
    MOST_ROWS,
    Csv,
    Form,
    Json,
    form_of,
    show,
    show_json,
)
from operator_cli.terminal import DATABASE, err, explained, kafka, out, settings
from operator_cli.words import NO_KAFKA
from runtime.kafka import reason
from runtime.rows import Listing, cell, printable
from schemas.topics import load_topics

_IN_ROWS: Final = ("outcome", "reason", "call_key", "source", "run", "attempt", "agent")
_OF_RECEIPT: Final = ("billing_account_id", "response_cost_usd", "charged_usd", "charged_credits")
_NAMES: Final = (*_IN_ROWS, *_OF_RECEIPT, "duplicates", "conflicts", "says")


def explain(
    *,
    call: Annotated[
        str,
        typer.Argument(
            metavar="CALL",
            help="A LiteLLM call id, a response id, a run id, a call key or a receipt's id.",
        ),
    ],
    scan_limit: Annotated[
        int, typer.Option(min=1, help="Search at most this many of a topic's newest records.")
    ] = 200_000,
    seconds: Annotated[
        float, typer.Option(min=1, help="Search each topic or table for at most this long.")
    ] = 60,
    limit: Annotated[
        int, typer.Option(min=1, max=MOST_ROWS, help="Most rows from each table.")
    ] = 100,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Show what came of a call, or of the calls of a run, what was decided, and why.

    Shows the receipt, or what is missing and what to do. Reads the ledger; if
    KAFKA_BOOTSTRAP_SERVERS is set, it also searches the callbacks and the dead letters, because
    skipped calls and duplicates leave no row. Exit code 1: nothing is known of the call.
    """
    form = form_of(as_json=as_json, as_csv=as_csv)
    found = settings(DATABASE)
    with explained(found):
        url = found.database_url.get_secret_value()
        books = books_of(url, call, found.consumer_group, limit, seconds)
    evidence, said, looked = _evidence(found, call, books, Bounds(scan_limit, seconds))
    told = stories(evidence)
    said += [f"Not searched to the end: {what}." for what in books.unfinished]
    if not told:
        said.insert(0, f"Nothing is known of {call!r}.")
    match form:
        case Form.JSON:
            kafka_row = {"searched": evidence.searched, "topics": [one.row() for one in looked]}
            show_json(
                {
                    "asked": call,
                    "found": bool(told),
                    "calls": told,
                    "says": said,
                    "kafka": kafka_row,
                }
            )
        case Form.CSV:
            show("", Listing(_NAMES, [_in_row(one) for one in told]), form)
            _remarks(said)
        case Form.TABLE:
            for one in told:
                _print(one)
            _remarks(said)
    if not told:
        raise typer.Exit(1)


def _evidence(
    found: Settings, name: str, books: Books, bounds: Bounds
) -> tuple[Evidence, list[str], list[Looked]]:
    """Return what is known, with remarks on how far was looked."""
    if not found.kafka_bootstrap_servers:
        return Evidence(books), [NO_KAFKA], []
    topics = load_topics(found.billing_topic_prefix)
    sought = Sought(name, keys_of(books), provenances_of(books))
    # A run has one partition; where the ledger knows none, the call may stand on any.
    partitions = {part for topic, part, _ in sought.provenances if topic == topics.callbacks.name}
    policy = found.policy(topics.usage_units.name)
    config = kafka(found)
    try:
        with Progress(console=err, transient=True) if err.is_terminal else nullcontext() as bar:
            tell = _Teller(bar)
            records, first = look(
                config, topics.callbacks.name, sought, bounds, partitions=partitions, progress=tell
            )
            callbacks = [seen_of(record, policy) for record in records]
            stood = {*sought.provenances, *(seen.provenance for seen in callbacks)}
            parked = Sought(name, {*keys_of(books), *(one.call_key for one in callbacks)}, stood)
            records, second = look(
                config, topics.dead_letters.name, parked, bounds, partitions=set(), progress=tell
            )
    except KafkaException as error:
        where = found.kafka_bootstrap_servers
        return Evidence(books), [f"Kafka at {where} was not searched: {reason(error)}"], []
    letters = [letter_of(record) for record in records]
    said = [one.sentence() for one in (first, second)]
    return Evidence(books, callbacks, letters, searched=True), said, [first, second]


class _Teller:
    """Shows on a terminal how far the search is."""

    def __init__(self, bar: Progress | None) -> None:
        self._bar = bar
        self._task = bar.add_task("searching Kafka", total=None) if bar else None

    def __call__(self, read: int, wanted: int) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=read, total=wanted)


def _remarks(said: list[str]) -> None:
    for one in said:
        err.print(printable(one), markup=False)


def _in_row(told: Row) -> Row:
    receipt = told["receipt"] or {}
    return {
        **{name: told[name] for name in _IN_ROWS},
        **{name: receipt.get(name) for name in _OF_RECEIPT},
        "duplicates": told["duplicates"],
        "conflicts": len(told["conflicts"]),
        "says": " ".join(told["says"]),
    }


def _print(told: Row) -> None:
    reason_said = f" ({told['reason']})" if told["reason"] else ""
    _line(f"{told['outcome']}{reason_said}: call {told['call_key']}")
    for sentence in told["says"]:
        _line(f"  {sentence}")
    for name, value in _facts(told):
        if value not in (None, "", []):
            _line(f"    {name:<16} {cell(value)}")
    out.print()


def _facts(told: Row) -> list[tuple[str, Any]]:
    row = told["receipt"] or told["deferral"] or {}
    receipt = told["receipt"] or {}
    facts = [
        *((name, told[name]) for name in ("source", "litellm_call_id", "response_id")),
        *((name, told[name]) for name in ("run", "attempt", "agent")),
        ("receipt", receipt.get("id")),
        ("account", receipt.get("billing_account_id")),
        *((name, row.get(name)) for name in ("model", "provider", "tokens_in", "tokens_out")),
        ("ended", row.get("occurred_at")),
        ("written", receipt.get("created_at") or row.get("deferred_at")),
        ("marks", receipt.get("marks")),
    ]
    facts += [
        ("callback", f"{one['at']}, {cell(one['received'])}: {one['outcome']}")
        for one in told["callbacks"]
    ]
    return facts


def _line(text: str) -> None:
    out.print(printable(text), markup=False, highlight=False, soft_wrap=True)
