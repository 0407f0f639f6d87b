"""What became of the demo's calls, read from the ledger and the consumer's metrics."""

import time
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from typing import TypeVar

import httpx
import psycopg
from prometheus_client.parser import text_string_to_metric_families
from psycopg.rows import class_row

from demo.calls import Answer

_TURN_SECONDS = 0.2
_RECORDS = "billing_consumer_records_total"


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """A receipt; money in USD. `run_id` is None where the call names no run."""

    litellm_call_id: str
    billing_account_id: str
    run_id: str | None
    sub_agent_id: str | None
    model: str
    stream: bool | None
    tokens_in: int | None
    tokens_out: int | None
    charge_reason: str
    response_cost_usd: Decimal
    charged_usd: Decimal
    charged_credits: int


@dataclass(frozen=True, kw_only=True)
class Deferred:
    """A call that waits for a cost."""

    litellm_call_id: str
    model: str | None
    reason: str
    tokens_in: int | None
    tokens_out: int | None
    suggested_cost_usd: Decimal | None


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Everything the ledger says about the demo's calls.

    `records` counts, by outcome and reason, everything this consumer has committed since its start.
    """

    receipts: tuple[Receipt, ...]
    deferred: tuple[Deferred, ...]
    records: dict[tuple[str, str], int]


def wait_for(
    answers: tuple[Answer, ...], database_url: str, metrics_url: str, seconds: float
) -> Ledger:
    """Return the ledger as soon as every call's outcome is there, or what is there in the end.

    Args:
        answers: the calls that were made.
        database_url: libpq URL of the ledger.
        metrics_url: the consumer's probes and metrics.
        seconds: how long to wait at most.

    Raises:
        psycopg.Error: when the database does not answer.
        httpx.HTTPError: when the consumer does not answer.
    """
    wanted = {
        name: sum(answer.call.outcome == name for answer in answers)
        for name in ("receipt", "deferred", "skipped")
    }
    deadline = time.monotonic() + seconds
    with psycopg.connect(database_url, autocommit=True) as connection:
        while True:
            ledger = _read(connection, answers, metrics_url)
            skipped = sum(n for (outcome, _), n in ledger.records.items() if outcome == "skipped")
            complete = (
                len(ledger.receipts) >= wanted["receipt"]
                and len(ledger.deferred) >= wanted["deferred"]
                and skipped >= wanted["skipped"]
            )
            if complete or time.monotonic() > deadline:
                return ledger
            time.sleep(_TURN_SECONDS)


def _read(connection: psycopg.Connection, answers: tuple[Answer, ...], metrics_url: str) -> Ledger:
    ids = [answer.call_id for answer in answers]
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return Ledger(
            receipts=_rows(connection, "receipts", Receipt, ids),
            deferred=_rows(connection, "deferred", Deferred, ids),
            records=_records(metrics_url),
        )


_Row = TypeVar("_Row")


def _rows(
    connection: psycopg.Connection, name: str, kind: type[_Row], ids: list[str]
) -> tuple[_Row, ...]:
    text = files("demo").joinpath("sql", f"{name}.sql").read_text("utf-8")
    with connection.cursor(row_factory=class_row(kind)) as cursor:
        cursor.execute(text, {"calls": ids})
        return tuple(cursor.fetchall())


def _records(metrics_url: str) -> dict[tuple[str, str], int]:
    answer = httpx.get(f"{metrics_url}/metrics", trust_env=False, timeout=5).raise_for_status()
    return {
        (sample.labels["outcome"], sample.labels["reason"]): int(sample.value)
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == _RECORDS
    }
