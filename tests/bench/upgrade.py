"""What the upgrade of a ledger costs, and what a receipt costs before and after it.

`python -m tests.bench.upgrade 1000000`: a ledger of release 0.2.0 with so many receipts is migrated
while a member of that release writes. No broker is needed.
"""

import contextlib
import logging
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Annotated, Any, Final

import psutil
import psycopg
import structlog
import typer

from charging.decision import decide
from charging.outcomes import Decided
from ledger.migration import migrate
from ledger.receipts import ReceiptWriter
from schemas.record import Record
from tests.bench.payloads import REDACTED, Payloads
from tests.bench.processor import cpu_seconds
from tests.bench.services import POSTGRESQL
from tests.databases.database import choose_database, fresh_database, make_database
from tests.databases.former_member import former_release
from tests.databases.writing import ROLE
from tests.inputs.callbacks import CALLBACKS, RECEIVED_MS, policy

_BATCH: Final = 3_000
_ROUNDS: Final = 3
_LIVE: Final = 100
"""Records of a batch while the ledger is migrated: what comes within a moment."""
_AFTER_SECONDS: Final = 15.0
_MICROSECONDS: Final = 1_000_000
_FORMER: Final = "0009"
_LEDGER: Final = """
SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8, (
    SELECT sum(pg_total_relation_size(oid))::float8 FROM pg_class
    WHERE relnamespace = 'billing'::regnamespace AND relkind = 'r'
)
"""
_WITHOUT_KEYS: Final = """
ALTER TABLE billing.llm_charge_details
    DROP CONSTRAINT llm_charge_details_charge_receipt_id_fkey,
    DROP CONSTRAINT llm_charge_details_pkey;
ALTER TABLE billing.receipt_conflicts DROP CONSTRAINT receipt_conflicts_charge_receipt_id_fkey;
ALTER TABLE billing.charge_receipts
    DROP CONSTRAINT one_receipt_per_call, DROP CONSTRAINT charge_receipts_pkey;
DROP INDEX billing.charge_receipts_litellm_call_id, billing.charge_receipts_response_id,
    billing.charge_receipts_run_id;
"""
_WITH_KEYS: Final = """
SET maintenance_work_mem = '1GB';
ALTER TABLE billing.charge_receipts
    ADD CONSTRAINT charge_receipts_pkey PRIMARY KEY (id),
    ADD CONSTRAINT one_receipt_per_call UNIQUE (source_system, call_key);
CREATE INDEX charge_receipts_litellm_call_id ON billing.charge_receipts (litellm_call_id);
CREATE INDEX charge_receipts_response_id ON billing.charge_receipts (response_id);
CREATE INDEX charge_receipts_run_id ON billing.charge_receipts (run_id);
ALTER TABLE billing.receipt_conflicts ADD CONSTRAINT receipt_conflicts_charge_receipt_id_fkey
    FOREIGN KEY (charge_receipt_id) REFERENCES billing.charge_receipts (id);
ALTER TABLE billing.llm_charge_details
    ADD CONSTRAINT llm_charge_details_pkey PRIMARY KEY (charge_receipt_id),
    ADD CONSTRAINT llm_charge_details_charge_receipt_id_fkey
        FOREIGN KEY (charge_receipt_id) REFERENCES billing.charge_receipts (id) NOT VALID;
"""
_GROW: Final = """
INSERT INTO billing.charge_receipts SELECT made.*
FROM (SELECT one FROM billing.charge_receipts AS one LIMIT 1) AS sample
CROSS JOIN generate_series(%(first)s::int, %(last)s::int) AS n
CROSS JOIN LATERAL jsonb_populate_record(sample.one, jsonb_build_object(
    'id', md5('receipt ' || n)::uuid,
    'call_key', md5('call ' || n) || '|chatcmpl-' || md5('response ' || n),
    'litellm_call_id', md5('call ' || n), 'response_id', 'chatcmpl-' || md5('response ' || n),
    'run_id', 'run-' || n / 100, 'kafka_offset', -n
)) AS made
"""
_GROW_DETAILS: Final = """
INSERT INTO billing.llm_charge_details SELECT made.*
FROM (SELECT one FROM billing.llm_charge_details AS one LIMIT 1) AS sample
CROSS JOIN generate_series(%(first)s::int, %(last)s::int) AS n
CROSS JOIN LATERAL jsonb_populate_record(
    sample.one, jsonb_build_object('charge_receipt_id', md5('receipt ' || n)::uuid)
) AS made
"""
_GROW_DEFERRED: Final = """
INSERT INTO billing.deferred_calls (
    source_system, call_key, litellm_call_id, response_id, reason, run_id, kafka_topic,
    kafka_partition, kafka_offset, occurred_at
)
SELECT 'litellm', 'deferred ' || n, md5('call ' || n), md5('response ' || n), 'missing_cost',
    'run-' || n / 100, 'billing.callbacks.v1', 0, -n, now()
FROM generate_series(1, %(count)s::int) AS n
"""


def batches(seed: str, count: int, each: int) -> Iterator[list[Decided]]:
    """Decided calls of 4 kB in batches; one in fifty is deferred."""
    payloads, rules = Payloads(seed, REDACTED), policy()
    for first in range(0, count, each):
        part = []
        for number in range(first, min(first + each, count)):
            record = Record(
                CALLBACKS, number % 12, number, RECEIVED_MS, b"run", payloads.element(number), []
            )
            part.append(Decided(record, decide(record, rules)))
        yield part


def receipt_cost(url: str, seed: str, count: int) -> str:
    """Write `count` calls into a ledger that is nearly empty; what each costs PostgreSQL."""
    with (
        closing(ReceiptWriter(url, ROLE)) as ledger,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        # The first change of a page after a checkpoint writes the whole page: not counted.
        for batch in batches(f"{seed} first", count // 4, _BATCH):
            ledger.write(batch)
        connection.execute("VACUUM ANALYZE")
        parts = list(batches(seed, count, _BATCH))
        [[pid]] = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND starts_with(application_name, 'billing-consumer')"
        ).fetchall()
        server = psutil.Process(pid)
        before, began = _ledger(connection), cpu_seconds(server)
        for batch in parts:
            ledger.write(batch)
        used = cpu_seconds(server) - began
        wal, size = (
            (after - was) / count for was, after in zip(before, _ledger(connection), strict=True)
        )
    return (
        f"{used * _MICROSECONDS / count:.1f} µs of PostgreSQL, {wal:,.0f} B of WAL, "
        f"{size:,.0f} B of tables and indexes"
    )


def _ledger(connection: psycopg.Connection[Any]) -> tuple[float, float]:
    [[wal, size]] = connection.execute(_LEDGER.encode()).fetchall()
    return float(wal), float(size)


def grow(url: str, count: int) -> None:
    """Multiply a receipt of the former schema to `count`, and make deferred calls, 2 % of that."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute(_WITHOUT_KEYS.encode())
        for first in range(1, count + 1, 100_000):
            part = {"first": first, "last": min(first + 99_999, count)}
            connection.execute(_GROW.encode(), part)
            connection.execute(_GROW_DETAILS.encode(), part)
        connection.execute(_WITH_KEYS.encode())
        connection.execute(_GROW_DEFERRED.encode(), {"count": count // 50})
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


@contextmanager
def writing(url: str, took: list[float]) -> Iterator[None]:
    """A member of the former release that writes small batches; seconds of each in `took`."""
    stopped = threading.Event()
    parts = batches("live", sys.maxsize, _LIVE)

    def write() -> None:
        with former_release(), closing(ReceiptWriter(url, ROLE)) as ledger:
            for part in parts:
                if stopped.wait(0.05):
                    return
                began = time.perf_counter()
                # Cut off after a minute where it has to scan a large table.
                with contextlib.suppress(psycopg.errors.QueryCanceled):
                    ledger.write(part)
                took.append(time.perf_counter() - began)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        time.sleep(2)
        yield
    finally:
        stopped.set()
        thread.join()


def main(
    count: Annotated[int, typer.Argument(min=1_000, help="Receipts in the ledger.")] = 1_000_000,
    written: Annotated[int, typer.Option(min=1_000, help="Calls to take a cost of.")] = 60_000,
) -> None:
    """Print what a receipt costs in both schemas, and how the upgrade goes."""
    logging.basicConfig(level=logging.WARNING)
    structlog.configure(processors=[_step])
    database = make_database(choose_database(), POSTGRESQL)
    database.start()
    try:
        for _ in range(_ROUNDS):
            with fresh_database(database.url) as url:
                migrate(url, _FORMER)
                with former_release():
                    print(f"former schema: {receipt_cost(url, 'cost', written)}")
            with fresh_database(database.url) as url:
                migrate(url)
                print(f"this schema:   {receipt_cost(url, 'cost', written)}")
        with fresh_database(database.url) as url:
            migrate(url, _FORMER)
            with former_release(), closing(ReceiptWriter(url, ROLE)) as ledger:
                ledger.write(next(batches("sample", 1, 1)))
            grow(url, count)
            took = list[float]()
            with writing(url, took):
                quiet = len(took)
                began = time.perf_counter()
                migrate(url)
                seconds = time.perf_counter() - began
                migrated = len(took)
                time.sleep(_AFTER_SECONDS)
            # The batch that was under way has ended, too.
            print(f"{count:,} receipts were migrated in {seconds:.1f} s")
            for when, some in (
                ("before", took[:quiet]),
                ("meanwhile", took[quiet:migrated]),
                ("after, until it is replaced", took[migrated:]),
            ):
                if not some:
                    continue
                print(
                    f"  a batch of {_LIVE} of the former release, {when}: "
                    f"{statistics.median(some):.2f} s, {max(some):.2f} s at most, {len(some)} times"
                )
    finally:
        database.stop()
        database.remove()


def _step(_: object, __: str, said: structlog.typing.EventDict) -> str:
    if "step" not in said:
        raise structlog.DropEvent
    return f"  {said['seconds']:6.1f} s  {said['revision']}  {said['step'][:90]}"


if __name__ == "__main__":
    typer.run(main)
