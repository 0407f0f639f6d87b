"""The ledger against a real PostgreSQL: written once, never changed, whatever happens between."""

import itertools
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import sql

from consumer.decision import decide
from consumer.ledger import Ledger, Outcome
from consumer.record import Charge, Decided
from schemas.receipt import ChargeReason, plain, to_kafka
from tests.services import captures
from tests.services.callbacks import (
    NUMBER,
    USAGE_UNITS,
    costing,
    decided,
    element,
    policy,
    record,
    usage_unit,
)
from tests.services.ledger import Ledger as Tables
from tests.services.waiting import eventually

ROLE = "billing_consumer"
CAPTURED = policy(free=tuple(captures.FREE_MODELS.split(",")))
IMMUTABLE = ("charge_receipts", "llm_charge_details", "receipt_conflicts")


@pytest.fixture
def ledger(migrated_database_url: str) -> Iterator[Ledger]:
    """The consumer's ledger, in the role it acts as."""
    with closing(Ledger(migrated_database_url, ROLE)) as opened:
        yield opened


@pytest.fixture
def tables(migrated_database_url: str) -> Tables:
    """What the ledger wrote, read from outside."""
    return Tables(migrated_database_url)


def outcomes(found: Sequence[Outcome]) -> list[str]:
    """What became of each record, in the order of the batch."""
    return [f"{outcome.outcome} {outcome.reason}" for outcome in found]


def write(ledger: Ledger, *batch: Decided) -> list[str]:
    """Write a batch and say what became of it."""
    return outcomes(ledger.write(batch))


def content(url: str) -> dict[str, list[Any]]:
    """Every row, without what differs by the clock and by who came first."""
    left_out = {
        "charge_receipts": {"created_at", "kafka_offset", "kafka_partition"},
        "llm_charge_details": set[str](),
        "deferred_calls": {"id", "deferred_at", "resolved_at", "kafka_offset", "kafka_partition"},
        "receipt_conflicts": {"id", "detected_at", "kafka_offset", "kafka_partition"},
        "usage_units": {"created_at", "kafka_offset", "kafka_partition"},
    }
    with psycopg.connect(url) as connection:
        return {
            table: connection.execute(
                sql.SQL("SELECT (to_jsonb(t) - %s::text[])::text FROM {} t ORDER BY 1").format(
                    sql.Identifier("billing", table)
                ),
                [sorted(columns)],
            ).fetchall()
            for table, columns in left_out.items()
        }


def test_a_charge_is_created_once_and_then_a_duplicate(ledger: Ledger, tables: Tables) -> None:
    assert write(ledger, decided(element())) == ["created usage"]
    before = tables.snapshot()
    assert write(ledger, decided(element())) == ["duplicate receipt"]
    assert tables.snapshot() == before
    row = tables.receipt(response_id="chatcmpl-1")
    assert (row["cost_text"], row["charged_credits"]) == ("0.000036", 360)


def test_CHARGE_RECEIPTS_IDEMPOTENT_BY_CALL_ID(ledger: Ledger, tables: Tables) -> None:
    """The pair is the key: neither half alone is."""
    write(ledger, decided(element(litellm_call_id="a", id="1")))
    write(ledger, decided(element(litellm_call_id="a", id="2")))
    write(ledger, decided(element(litellm_call_id="b", id="1")))
    batch = {"call_type": "aretrieve_batch", "id": "batch_1"}
    found = write(ledger, *(decided(element(litellm_call_id=f"r-{n}", **batch)) for n in range(10)))
    assert Counter(found) == {"created usage": 1, "duplicate receipt": 9}
    assert len(tables.receipts()) == 4
    assert len(tables.receipts(litellm_call_id="a")) == 2
    assert len(tables.receipts(response_id="1")) == 2


def test_each_source_has_its_own_calls(ledger: Ledger, tables: Tables) -> None:
    assert write(ledger, decided(element()), decided(element(), source="litellm/eu")) == [
        "created usage",
        "created usage",
    ]
    assert {row["source_system"] for row in tables.receipts()} == {"litellm", "litellm/eu"}


def test_of_duplicates_in_one_batch_the_first_wins(ledger: Ledger, tables: Tables) -> None:
    assert write(
        ledger,
        decided(element(), offset=7),
        decided(element(), offset=8),
        decided(costing("5"), offset=9),
        decided(costing("5"), offset=10),
        decided(costing("6"), offset=11),
    ) == [
        "created usage",
        "duplicate receipt",
        "conflict content",
        "conflict content",
        "conflict content",
    ]
    assert tables.receipt()["kafka_offset"] == 7
    assert sorted(row["response_cost_usd"] for row in tables.conflicts()) == [5, 6]


def test_a_conflict_is_kept_aside_once_and_overwrites_nothing(
    ledger: Ledger, tables: Tables
) -> None:
    write(ledger, decided(element()))
    receipts = tables.receipts()
    for _ in range(3):
        assert write(ledger, decided(costing("1"))) == ["conflict content"]
    assert write(ledger, decided(element(end_user="another"))) == ["conflict content"]
    assert write(ledger, decided(element())) == ["duplicate receipt"]
    assert tables.receipts() == receipts
    assert {row["response_cost_usd"] for row in tables.conflicts()} == {
        1,
        receipts[0]["response_cost_usd"],
    }
    assert len(tables.conflicts()) == 2


def test_the_record_that_wrote_a_receipt_is_replayed_with_the_same_event(
    ledger: Ledger, tables: Tables, migrated_database_url: str
) -> None:
    """A crash between PostgreSQL and Kafka: the event goes out, and it is the same event."""
    with psycopg.connect(migrated_database_url, autocommit=True) as connection:
        zone = sql.SQL("ALTER DATABASE {} SET TimeZone = 'Asia/Kolkata'")
        connection.execute(zone.format(sql.Identifier(connection.info.dbname)))
    spend = {"run_id": "läuft", "attempt": 3, "sub_agent_id": "writer"}
    value = element(
        "1.2500e-06",
        response_cost=NUMBER,
        metadata={"spend_logs_metadata": spend},
        request_tags=["a,b", 'c"d', "NULL", ""],
    )
    first = ledger.write([decided(value, policy(markup="1.50"), offset=5)])
    ledger.close()
    again = ledger.write([decided(value, policy(markup="1.50"), offset=5)])
    assert outcomes(again) == ["duplicate replayed"]
    assert first[0].receipt is not None
    assert again[0].receipt is not None
    assert to_kafka(again[0].receipt) == to_kafka(first[0].receipt)
    assert len(tables.receipts()) == 1


def test_the_same_batch_again_is_replayed_and_only_what_it_wrote(
    ledger: Ledger, tables: Tables
) -> None:
    """What happens when the Kafka transaction was aborted and the batch is settled again."""
    batch = [
        decided(element(id="1"), offset=1),
        decided(element(id="1"), offset=2),
        decided(element(id="2", response_cost=0), offset=3),
        decided(element(id="1", response_cost=9), offset=4),
        decided(element(id=None), offset=5),
        decided(element(id="3", status="failure", response_cost=0), offset=6),
    ]
    assert outcomes(ledger.write(batch)) == [
        "created usage",
        "duplicate receipt",
        "deferred suspicious_zero",
        "conflict content",
        "parked no_usable_id",
        "skipped failed_call",
    ]
    before = tables.snapshot()
    again = ledger.write(batch)
    assert outcomes(again) == [
        "duplicate replayed",
        "duplicate receipt",
        "duplicate deferred",
        "conflict content",
        "parked no_usable_id",
        "skipped failed_call",
    ]
    assert [bool(outcome.receipt) for outcome in again] == [True, *[False] * 5]
    assert tables.snapshot() == before


def test_a_receipt_from_another_record_is_not_published_again(ledger: Ledger) -> None:
    ledger.write([decided(element(), offset=5, partition=1)])
    for offset, partition in ((6, 1), (5, 2)):
        found = ledger.write([decided(element(), offset=offset, partition=partition)])
        assert outcomes(found) == ["duplicate receipt"]
        assert found[0].receipt is None


def test_a_replay_under_other_settings_is_no_conflict(ledger: Ledger, tables: Tables) -> None:
    """The operator changed where accounts come from; the crash came before, the replay after."""
    value = element(metadata={"user_api_key_team_id": "team"})
    ledger.write([decided(value, offset=5), decided(element(id="2"), offset=6)])
    found = ledger.write(
        [
            decided(value, policy(account_from=("user_api_key_team_id",)), offset=5),
            decided(costing("7", id="2"), offset=7),
        ]
    )
    assert outcomes(found) == ["duplicate replayed", "conflict content"]
    assert found[0].receipt is not None
    assert found[0].receipt.billing_account_id == "acct-1"
    assert [row["response_cost_usd"] for row in tables.conflicts()] == [7]


ZERO = element(response_cost=0)
MISSING = element(response_cost=None)
PAID = element()


@pytest.mark.parametrize("together", [True, False])
def test_a_deferral_and_its_receipt_in_any_order_are_the_same_tables(
    *, ledger: Ledger, migrated_database_url: str, together: bool
) -> None:
    seen = []
    for number, order in enumerate(itertools.permutations([ZERO, PAID, ZERO])):
        source = f"litellm/{number}"
        batch = [decided(value, source=source) for value in order]
        for part in [batch] if together else [[one] for one in batch]:
            ledger.write(part)
        with psycopg.connect(migrated_database_url) as connection:
            seen.append(
                connection.execute(
                    "SELECT r.response_cost_usd, d.reason, d.resolution, d.resolved_at IS NULL"
                    " FROM billing.charge_receipts r JOIN billing.deferred_calls d"
                    " USING (source_system, call_key) WHERE source_system = %s",
                    [source],
                ).fetchall()
            )
    assert len(set(map(tuple, seen))) == 1
    [(cost, reason, resolution, is_open)] = seen[0]
    assert (str(cost), reason, resolution, is_open) == (
        "0.000036",
        "suspicious_zero",
        "callback",
        False,
    )
    assert ledger.open_deferred()[0] == 0


def test_a_call_is_deferred_once_and_a_later_cost_settles_it(
    ledger: Ledger, tables: Tables
) -> None:
    assert write(ledger, decided(ZERO), decided(ZERO)) == [
        "deferred suspicious_zero",
        "duplicate deferred",
    ]
    assert write(ledger, decided(MISSING)) == ["duplicate deferred"]
    assert ledger.open_deferred()[0] == 1
    assert write(ledger, decided(PAID)) == ["created usage"]
    assert ledger.open_deferred()[0] == 0
    [row] = tables.deferred()
    assert (row["resolution"], row["resolved_at"] is None) == ("callback", False)
    assert len(tables.receipts()) == 1


def test_two_writers_on_the_same_keys_make_one_receipt_each(
    migrated_database_url: str, tables: Tables
) -> None:
    """Two members that meet on the same calls: no deadlock, nothing parked, nothing twice."""
    keys, rounds, writers = 40, 8, 4
    start = threading.Barrier(writers)
    found: list[Outcome] = []

    def member(number: int) -> None:
        rng = random.Random(number)  # noqa: S311 - a test's shuffle
        with closing(Ledger(migrated_database_url, ROLE)) as ledger:
            ledger.ping()
            for turn in range(rounds):
                ids = [f"{turn}-{key}" for key in range(keys)]
                rng.shuffle(ids)
                batch = [decided(element(id=name), partition=number) for name in ids]
                start.wait(30)
                found.extend(ledger.write(batch))

    run_together(member, writers, start)
    assert Counter(outcomes(found)) == {
        "created usage": keys * rounds,
        "duplicate receipt": keys * rounds * (writers - 1),
    }
    assert len(tables.receipts()) == keys * rounds


def test_two_writers_in_the_same_instant_park_nothing(migrated_database_url: str) -> None:
    """A duplicate that meets its twin inside PostgreSQL is a duplicate, not a refused row."""
    writers, keys = 4, 400
    start = threading.Barrier(writers)
    found: list[Outcome] = []

    def member(number: int) -> None:
        with closing(Ledger(migrated_database_url, ROLE)) as ledger:
            ledger.ping()
            for key in range(keys):
                one = decided(element(id=f"call-{key}"), partition=number)
                start.wait(30)
                found.extend(ledger.write([one]))

    run_together(member, writers, start)
    assert Counter(outcomes(found)) == {
        "created usage": keys,
        "duplicate receipt": keys * (writers - 1),
    }


def run_together(member: Callable[[int], None], members: int, start: threading.Barrier) -> None:
    """Run `member` in as many threads; the first failure ends them all and is raised."""
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            member(number)
        except BaseException as failure:  # noqa: BLE001 - told to the test's own thread
            failures.append(failure)
            start.abort()

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(members)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    if failures:
        raise failures[0]


def impossible(id_: str) -> Decided:
    """A charge that no payload becomes: PostgreSQL refuses a zero without a reason."""
    refused = decided(element(id=id_, response_cost=0, cache_hit=True))
    assert isinstance(refused.decision, Charge)
    receipt = refused.decision.receipt.model_copy(update={"charge_reason": ChargeReason.USAGE})
    return Decided(refused.record, Charge(receipt, "hash", None, None))


@pytest.mark.parametrize("at", [0, 3, 6])
def test_ONE_BAD_ELEMENT_LOSES_NO_NEIGHBOUR_a_row_that_postgresql_refuses_parks_alone(
    ledger: Ledger, tables: Tables, at: int
) -> None:
    batch = [decided(element(id=str(n))) for n in range(6)]
    batch.insert(at, impossible("bad"))
    expected = ["created usage"] * 6
    expected.insert(at, "parked unstorable")
    assert write(ledger, *batch) == expected
    assert len(tables.receipts()) == 6


def test_a_nul_that_came_through_parks_alone(ledger: Ledger, tables: Tables) -> None:
    fine = decided(element(id="fine"))
    bad = decided(element(id="bad"))
    assert isinstance(bad.decision, Charge)
    receipt = bad.decision.receipt.model_copy(update={"model": "a\x00b"})
    broken = Decided(bad.record, Charge(receipt, "hash", None, None))
    assert write(ledger, fine, broken) == ["created usage", "parked unstorable"]
    assert len(tables.receipts()) == 1


def test_a_missing_role_stops_and_parks_nothing(migrated_database_url: str) -> None:
    """A fault of the installation is no fault of the records."""
    with closing(Ledger(migrated_database_url, "no_such_role")) as ledger:
        for _ in range(2):
            with pytest.raises(psycopg.Error, match="no_such_role"):
                ledger.write([decided(element())])
    with psycopg.connect(migrated_database_url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'billing-consumer'"
            " AND datname = current_database()"
        ).fetchone()
    assert row == (0,), "a refused connection stays open"


CHANGES = (
    "UPDATE {table} SET kafka_offset = 0 WHERE false",
    "UPDATE {table} SET billing_account_id = 'mine'",
    "UPDATE {table} SET charge_receipt_id = gen_random_uuid()",
    "UPDATE {table} SET tokens_in = 0",
    "DELETE FROM {table}",
    "DELETE FROM {table} WHERE false",
    "TRUNCATE {table} CASCADE",
    "MERGE INTO {table} t USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE",
)


@pytest.mark.parametrize("role", [ROLE, "owner"])
def test_RECEIPTS_ARE_IMMUTABLE(ledger: Ledger, migrated_database_url: str, role: str) -> None:
    write(ledger, decided(element()), decided(costing("1")))
    before = Tables(migrated_database_url).snapshot()
    assert all(before[table] for table in IMMUTABLE)
    refused = (psycopg.errors.RestrictViolation, psycopg.errors.InsufficientPrivilege)
    with psycopg.connect(migrated_database_url, autocommit=True) as connection:
        if role != "owner":
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        for table, change in itertools.product(IMMUTABLE, CHANGES):
            statement = change.format(table=f"billing.{table}").encode()
            # A column that a table has not is no way in either.
            with pytest.raises((*refused, psycopg.errors.UndefinedColumn)):
                connection.execute(statement)
    assert Tables(migrated_database_url).snapshot() == before


def test_RECEIPTS_ARE_IMMUTABLE_the_refusal_says_what_to_do(migrated_database_url: str) -> None:
    with (
        psycopg.connect(migrated_database_url) as connection,
        pytest.raises(psycopg.errors.RestrictViolation, match=r"append-only: DELETE.*\n.*HINT"),
    ):
        connection.execute("DELETE FROM billing.charge_receipts")


def test_a_terminated_session_is_mended_by_writing_again(
    ledger: Ledger, migrated_database_url: str, tables: Tables
) -> None:
    batch = [decided(element(id=str(n))) for n in range(20)]
    ledger.write(batch[:10])
    before = tables.snapshot()
    terminate(migrated_database_url)
    with pytest.raises(psycopg.OperationalError):
        ledger.write(batch)
    assert tables.snapshot() == before
    found = outcomes(ledger.write(batch))
    assert found == ["duplicate replayed"] * 10 + ["created usage"] * 10
    assert len(tables.receipts()) == 20


def test_a_session_terminated_in_the_middle_of_a_write_leaves_nothing_of_it(
    ledger: Ledger, migrated_database_url: str, tables: Tables
) -> None:
    ledger.ping()
    raised: list[BaseException] = []

    def writer() -> None:
        try:
            ledger.write([decided(element(id=str(n))) for n in range(50)])
        except psycopg.OperationalError as error:
            raised.append(error)

    with psycopg.connect(migrated_database_url) as holder:
        # Somebody holds the table, so the write is in its transaction and waits.
        holder.execute("LOCK TABLE billing.llm_charge_details IN EXCLUSIVE MODE")
        thread = threading.Thread(target=writer)
        thread.start()
        eventually(lambda: waiting(migrated_database_url), "the write to wait for the lock", 30)
        terminate(migrated_database_url)
        thread.join(30)
        assert not thread.is_alive()
    assert raised
    assert tables.receipts() == []
    found = outcomes(ledger.write([decided(element(id=str(n))) for n in range(50)]))
    assert found == ["created usage"] * 50


def waiting(url: str) -> bool:
    """Whether a session of the consumer waits for a lock."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'billing-consumer'"
            " AND datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
    return row == (1,)


def terminate(url: str) -> None:
    """End every session of the consumer in this database, and wait until they are gone."""
    asked = (
        "FROM pg_stat_activity WHERE application_name = 'billing-consumer'"
        " AND datname = current_database()"
    )
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"SELECT pg_terminate_backend(pid) {asked}")

        def gone() -> bool:
            row = connection.execute(f"SELECT count(*) {asked}").fetchone()
            return row == (0,)

        eventually(gone, "the sessions to end", 30)


def test_the_count_of_deferrals_survives_a_lost_session(
    ledger: Ledger, migrated_database_url: str
) -> None:
    """An idle consumer must not show a stale gauge until the next batch comes."""
    write(ledger, decided(ZERO))
    terminate(migrated_database_url)
    with pytest.raises(psycopg.OperationalError):
        ledger.open_deferred()
    assert ledger.open_deferred()[0] == 1


EDGES = [
    "tab\there",
    "line\nfeed",
    "carriage\rreturn",
    "\\N",
    "\\.",
    "back\\slash",
    "\\t",
    '"quoted"',
    "a,b",
    "{curly}",
    "NULL",
    "null",
    " lead and trail ",
    "läuft \N{ROCKET} \N{HEBREW LETTER ALEF}",
    "\x01\x1f\x7f",
    "a\u2028b",
    "x" * 1_024,
    "\N{ROCKET}" * 256,
]


@pytest.mark.parametrize("text", EDGES, ids=lambda text: repr(text)[:20])
def test_text_arrives_in_the_tables_as_it_is(ledger: Ledger, tables: Tables, text: str) -> None:
    spend = {"run_id": text, "graph_id": text, "sub_agent_id": text}
    fields: dict[str, Any] = {
        "id": text,
        "end_user": text,
        "model": text,
        "model_group": text,
        "request_tags": [text, text + "2"[: 1024 - len(text.encode())]],
        "metadata": {"spend_logs_metadata": spend},
    }
    assert write(ledger, decided(element(**fields))) == ["created usage"]
    assert write(ledger, decided(element(**fields))) == ["duplicate receipt"]
    assert write(ledger, decided(element(**{**fields, "id": text[:-1] + "0"}, response_cost=0)))
    row = tables.receipt(response_id=text)
    for column in ("billing_account_id", "run_id", "model", "graph_id", "sub_agent_id"):
        assert row[column] == text, column
    assert row["tags"][0] == text
    assert tables.deferred()[0]["run_id"] == text


@pytest.mark.parametrize(
    ("cost", "credited"),
    [
        ("1e-60", 1),
        ("0.1234567890123456789012345678901234", 1_234_568),
        ("1000000000", 10**16),
        (
            "999999999.000000000000000000000000000000000000000000000000000000000001",
            9999999990000001,
        ),
        ("1.2500e-06", 13),
    ],
)
def test_MONEY_IS_EXACT_in_the_tables(
    ledger: Ledger, tables: Tables, cost: str, credited: int
) -> None:
    write(ledger, decided(costing(cost)))
    row = tables.receipt()
    assert row["cost_text"] == plain(Decimal(cost))
    assert row["charged_credits"] == credited


def test_the_largest_charge_fits(ledger: Ledger, tables: Tables) -> None:
    assert write(ledger, decided(costing("1000000000"), policy(markup="100"))) == ["created usage"]
    assert tables.receipt()["charged_credits"] == 10**18


def test_a_usage_unit_is_kept_once(ledger: Ledger, tables: Tables) -> None:
    unit = decided_unit(run_id="run\x001", executor="läuft", tokens_in=2**53 - 1)
    assert write(ledger, unit) == ["unit new"]
    assert write(ledger, unit, decided_unit(executor="another")) == ["unit known"] * 2
    [row] = tables.usage_units()
    assert (row["run_id"], row["executor"]) == ("run\ufffd1", "läuft")
    assert tables.receipts() == []


def decided_unit(**fields: object) -> Decided:
    """A usage unit as a record, with the decision about it."""
    taken = record(json.dumps(usage_unit(**fields)).encode(), topic=USAGE_UNITS)
    return Decided(taken, decide(taken, policy()))


def test_NOTHING_VANISHES_in_any_order_and_batching(
    ledger: Ledger, migrated_database_url: str
) -> None:
    """All captures three times over, shuffled and cut at random, twice: the same tables."""
    seen = []
    for seed in (1, 2):
        rng = random.Random(seed)  # noqa: S311 - a test's shuffle
        values = captures.all_elements() * 3
        rng.shuffle(values)
        found: list[str] = []
        while values:
            size = rng.randint(1, 40)
            found += write(ledger, *(decided(value, CAPTURED) for value in values[:size]))
            del values[:size]
        words = Counter(word.split()[0] for word in found)
        lines = Counter(line.verdict for line in captures.expectations())
        assert words["created"] == (lines["RECEIPT"] if seed == 1 else 0)
        assert words["deferred"] == (lines["DEFER"] if seed == 1 else 0)
        assert words["skipped"] == 3 * lines["SKIP"]
        assert words["conflict"] == words["parked"] == 0
        assert words.total() == 3 * lines.total()
        seen.append(content(migrated_database_url))
    assert seen[0] == seen[1]


def test_posting_everything_many_times_changes_nothing_after_the_first(
    ledger: Ledger, tables: Tables
) -> None:
    values = captures.all_elements()
    ledger.write([decided(value, CAPTURED) for value in values])
    before = tables.snapshot()
    for _ in range(5):
        ledger.write([decided(value, CAPTURED) for value in values * 5])
    assert tables.snapshot() == before
