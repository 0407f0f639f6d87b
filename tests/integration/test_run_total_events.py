"""Totals of runs on the receipts topic: the last one of a run is the sum of its receipts."""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing, suppress
from decimal import Decimal
from uuid import UUID, uuid4

import psycopg
from jsonschema import Draft202012Validator

from charging.corrections import CorrectionError
from charging.money import summed
from ledger.corrections import Corrections
from schemas.events import RECEIPT_CORRECTED, RECEIPT_CREATED, RUN_SETTLED
from tests.databases.writing import ROLE
from tests.inputs.callbacks import costing, usage_unit
from tests.integration.corrected import correct
from tests.integration.event_publishers import CrashError, Publishers
from tests.integration.moved_credits import waiting
from tests.observers.topics import TopicRecord
from tests.processes.consuming import ROOT, USAGE_UNITS, Consuming
from tests.waiting import eventually

SEED = 19
RUNS, CALLS, TURNS = 7, 60, 60


def call(number: int, randomly: random.Random) -> bytes:
    """A call of one of the runs, at some cost, or at none that can be charged."""
    name, run = f"call-{number}", f"run-{number % RUNS}"
    cost = Decimal(randomly.randrange(1, 10**8)).scaleb(-9) if number % 11 else Decimal(0)
    spend = {"run_id": run, "attempt": 0}
    ids = {"id": name, "litellm_call_id": name}
    return costing(f"{cost:f}", **ids, metadata={"spend_logs_metadata": spend})


def complete(consuming: Consuming, run: str) -> None:
    """Say that a run has ended."""
    value = usage_unit(unit_id=str(uuid4()), run_id=run, run_completed=True)
    consuming.produce(USAGE_UNITS, run.encode(), json.dumps(value).encode())
    consuming.flush()


def kind_of(record: TopicRecord) -> str:
    """The type of an event."""
    return record.headers["ce_type"].decode()


def sums(records: Sequence[TopicRecord]) -> dict[str, tuple[int, int, Decimal, int]]:
    """Receipts, corrections, dollars and credits of each run, summed by a subscriber."""
    found = defaultdict[str, tuple[int, int, Decimal, int]](lambda: (0, 0, Decimal(0), 0))
    for record in records:
        value = json.loads(record.value)
        receipts, corrections, usd, credits_ = found[value["run_id"]]
        if kind_of(record) == RECEIPT_CREATED:
            usd = summed((usd, Decimal(value["charged_usd"])))
            found[value["run_id"]] = (
                receipts + 1,
                corrections,
                usd,
                credits_ + value["charged_credits"],
            )
        elif kind_of(record) == RECEIPT_CORRECTED:
            usd = summed((usd, Decimal(value["amount_usd"])))
            found[value["run_id"]] = (
                receipts,
                corrections + 1,
                usd,
                credits_ + value["amount_credits"],
            )
    return dict(found)


def last_told(records: Sequence[TopicRecord]) -> dict[str, tuple[int, int, Decimal, int]]:
    """The same as the totals say it, of the highest revision."""
    validator = Draft202012Validator(
        json.loads((ROOT / "schemas/json/run-total.schema.json").read_text("utf-8"))
    )
    revisions = defaultdict[str, list[int]](list)
    found = dict[str, tuple[int, int, Decimal, int]]()
    for record in records:
        if kind_of(record) != RUN_SETTLED:
            continue
        value = json.loads(record.value)
        validator.validate(value)
        assert record.key == value["run_id"].encode()
        revisions[value["run_id"]].append(value["revision"])
        usd = Decimal(value["charged_usd"])
        found[value["run_id"]] = (
            value["calls"],
            value["corrections"],
            usd,
            value["charged_credits"],
        )
    for numbers in revisions.values():
        # Each once, in order, without gaps.
        assert numbers == list(range(1, len(numbers) + 1))
    return found


def test_the_last_total_of_each_run_is_its_sum_after_crashes_and_late_calls(
    publishers: Publishers, consuming: Consuming, migrated_database_url: str
) -> None:
    url, randomly = migrated_database_url, random.Random(SEED)  # noqa: S311 - no secret
    member = consuming.member()
    consuming.send(*(call(number, randomly) for number in range(CALLS)))
    for run in range(RUNS):
        complete(consuming, f"run-{run}")
    consuming.all_committed()
    consuming.topics.wait_until_consumed(USAGE_UNITS)
    # Its own thread would publish what the crashing ones are to publish.
    member.end()
    receipts = [UUID(str(row["id"])) for row in consuming.tables.receipts()]
    crashes = 0
    with closing(Corrections(url, ROLE, ())) as kept:
        for turn in range(TURNS):
            # What would be an hour's news comes at once.
            make_all_due(url)
            with suppress(CorrectionError):
                amount = f"{Decimal(randomly.randrange(-(10**8), 10**8)).scaleb(-9):f}"
                correct(kept, randomly.choice(receipts), amount, reference=f"r{turn}")
            publishers.free()
            try:
                publishers.new(randomly.choice(["", "numbered", "before", "behind"])).turn()
            except CrashError:
                crashes += 1
    assert crashes > TURNS // 4
    late = consuming.member()
    consuming.send(*(call(number, randomly) for number in range(CALLS, CALLS + 20)))
    consuming.all_committed()
    late.end()
    make_all_due(url)
    publishers.free()
    publishers.new().turn()
    assert waiting(url) == []
    records = consuming.events()
    assert len({record.headers["ce_id"] for record in records}) == len(records)
    assert last_told(records) == sums(records)
    assert Counter(map(kind_of, records))[RUN_SETTLED] > 2 * RUNS


def make_all_due(url: str) -> None:
    """Have time go on."""
    with psycopg.connect(url) as admin:
        admin.execute("UPDATE billing.completed_runs SET due_at = now() - interval '1 second'")


def test_a_member_publishes_what_a_run_has_cost_and_says_how_long_it_took(
    consuming: Consuming,
) -> None:
    member = consuming.member(CONSUMER_RUN_GRACE_SECONDS="1")
    consuming.send(call(1, random.Random(SEED)))  # noqa: S311 - no secret
    complete(consuming, "run-1")
    consuming.all_committed()

    def told() -> list[dict[str, object]]:
        records = consuming.events()
        return [json.loads(each.value) for each in records if kind_of(each) == RUN_SETTLED]

    eventually(lambda: bool(told()), "the total of the run")
    [event] = told()
    assert (event["run_id"], event["revision"], event["calls"]) == ("run-1", 1, 1)
    count = "billing_consumer_run_told_seconds_count"
    eventually(lambda: member.counted(count) == 1, "the metric")
    assert member.counted('billing_consumer_credit_events_total{type="run_settled"}') == 1
    assert member.end() == 0
