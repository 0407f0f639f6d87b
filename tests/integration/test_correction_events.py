"""Corrections on the receipts topic: what other teams rebuild from it equals the ledger."""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from decimal import Decimal
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator

from charging.corrections import CorrectionError
from charging.money import summed
from ledger.corrections import Corrections
from ledger.credits import Credits
from schemas.correction import CorrectionReason
from schemas.events import RECEIPT_CORRECTED, RECEIPT_CREATED
from tests.databases.writing import ROLE
from tests.inputs.callbacks import costing
from tests.integration.corrected import balances, charged, correct
from tests.integration.event_publishers import CrashError, Publishers
from tests.integration.moved_credits import waiting
from tests.observers.topics import TopicRecord
from tests.processes.consuming import ROOT, Consuming
from tests.waiting import eventually

SEED = 19
CALLS = 60
CORRECTIONS = 1_000
REFUND, PRICE, LATE, _, _ = CorrectionReason


@pytest.fixture
def kept(migrated_database_url: str) -> Iterator[Corrections]:
    """Corrections, in the role of whoever writes receipts."""
    with closing(Corrections(migrated_database_url, ROLE, (1_000,))) as opened:
        yield opened


def send_calls(consuming: Consuming, count: int, randomly: random.Random) -> None:
    """Have calls of seven accounts and runs charged."""
    for number in range(count):
        spend = {"run_id": f"run-{number % 7}", "attempt": 0}
        cost = str(Decimal(randomly.randrange(1, 10**8)).scaleb(-9))
        name = f"call-{number}"
        consuming.send(
            costing(
                f"{Decimal(cost):f}",
                id=name,
                litellm_call_id=name,
                end_user=f"acct-{number % 7}",
                metadata={"spend_logs_metadata": spend},
            )
        )
    consuming.all_committed()


def kind_of(record: TopicRecord) -> str:
    """The type of an event."""
    return record.headers["ce_type"].decode()


def rebuilt(records: Sequence[TopicRecord]) -> dict[str, tuple[Decimal, int]]:
    """What each account is charged, as a subscriber sums it that reads nothing else."""
    seen, sums = set[str](), defaultdict[str, list[Decimal | int]](lambda: [Decimal(0), 0])
    for record in records:
        name = record.headers["ce_id"].decode()
        if name in seen:
            continue
        seen.add(name)
        value = json.loads(record.value)
        corrected = kind_of(record) == RECEIPT_CORRECTED
        usd = value["amount_usd" if corrected else "charged_usd"]
        account = sums[value["billing_account_id"]]
        account[0] = summed((Decimal(account[0]), Decimal(usd)))
        account[1] += value["amount_credits" if corrected else "charged_credits"]
    return {name: (Decimal(usd), int(credits_)) for name, (usd, credits_) in sums.items()}


def corrected_at_random(
    kept: Corrections, receipts: Sequence[UUID], randomly: random.Random, made: int
) -> bool:
    """Ask for a correction, now and then for one that is made already; whether it was made."""
    reference = f"r{made if randomly.random() < 0.9 else randomly.randrange(made + 1)}"
    receipt = randomly.choice(receipts)
    amount = f"{Decimal(randomly.randrange(-(10**8), 10**8)).scaleb(-9):f}"
    reason = randomly.choice([REFUND, PRICE, LATE])
    with suppress(CorrectionError):
        return correct(kept, receipt, amount, reason=reason, reference=reference).created
    return False


def test_a_subscriber_has_what_the_ledger_has_after_a_thousand_corrections_and_crashes(
    publishers: Publishers,
    consuming: Consuming,
    kept: Corrections,
    migrated_database_url: str,
) -> None:
    url, randomly = migrated_database_url, random.Random(SEED)  # noqa: S311 - no secret
    member = consuming.member()
    send_calls(consuming, CALLS, randomly)
    # Its own thread would publish what the crashing ones are to publish.
    member.end()
    receipts = [UUID(str(row["id"])) for row in consuming.tables.receipts()]
    assert len(receipts) == CALLS
    made, crashes = 0, 0
    while made < CORRECTIONS:
        made += corrected_at_random(kept, receipts, randomly, made)
        if randomly.random() < 0.04:
            publishers.free()
            crash = randomly.choice(["", "numbered", "before", "behind"])
            try:
                publishers.new(crash).turn()
            except CrashError:
                crashes += 1
    publishers.free()
    publishers.new().turn()
    assert waiting(url) == []
    assert crashes > 20
    records = consuming.events()
    kinds = Counter(map(kind_of, records))
    assert kinds == {RECEIPT_CREATED: CALLS, RECEIPT_CORRECTED: CORRECTIONS}
    assert len({record.headers["ce_id"] for record in records}) == len(records)
    found = rebuilt(records)
    assert found == charged(url)
    assert {name: -credits_ for name, (_, credits_) in found.items()} == balances(url)
    with closing(Credits(url, "", "tests")) as books:
        assert books.audit() == []
    each_follows_its_receipt(records)


def each_follows_its_receipt(records: Sequence[TopicRecord]) -> None:
    """Corrections are numbered without gaps, and the last says what is charged."""
    schema = json.loads((ROOT / "schemas/json/correction.schema.json").read_text("utf-8"))
    validator = Draft202012Validator(schema)
    charges = dict[str, tuple[Decimal, int, int, tuple[int, bytes]]]()
    for record in records:
        value, place = json.loads(record.value), (record.partition, record.key)
        if kind_of(record) == RECEIPT_CREATED:
            usd, credits_ = Decimal(value["charged_usd"]), value["charged_credits"]
            charges[value["id"]] = usd, credits_, 0, place
            continue
        validator.validate(value)
        usd, credits_, number, at = charges[value["receipt_id"]]
        assert place == at
        assert value["number"] == number + 1
        usd, credits_ = usd + Decimal(value["amount_usd"]), credits_ + value["amount_credits"]
        assert (Decimal(value["corrected_usd"]), value["corrected_credits"]) == (usd, credits_)
        charges[value["receipt_id"]] = usd, credits_, number + 1, at


def test_a_member_publishes_a_correction_under_the_key_of_its_receipt(
    consuming: Consuming, kept: Corrections, migrated_database_url: str
) -> None:
    member = consuming.member()
    send_calls(consuming, 1, random.Random(SEED))  # noqa: S311 - no secret
    [row] = consuming.tables.receipts()
    done = correct(kept, row["id"], to="0", reason=REFUND, reference="ticket-12").correction
    eventually(lambda: not waiting(migrated_database_url), "the correction to be published")
    created, corrected = consuming.events()
    assert (corrected.partition, corrected.key) == (created.partition, created.key)
    value = json.loads(corrected.value)
    headers = {name: text.decode() for name, text in corrected.headers.items()}
    assert headers == {
        "ce_id": str(done.id),
        "ce_source": "/billing/litellm",
        "ce_type": "billing.receipt.corrected.v1",
        "ce_specversion": "1.0",
        "ce_subject": "acct-0",
        "ce_time": value["occurred_at"],
        "content-type": "application/json",
        "ce_partitionkey": "run-0",
    }
    assert (value["receipt_id"], value["reference"]) == (str(row["id"]), "ticket-12")
    assert (value["corrected_usd"], value["corrected_credits"]) == ("0", 0)
    # Who corrected it and why stays in the ledger.
    assert b"ada" not in corrected.value
    published = 'billing_consumer_credit_events_total{type="corrected"}'
    eventually(lambda: member.counted(published) == 1, "it to be counted")


def test_what_cannot_be_published_waits_and_is_counted(
    publishers: Publishers, consuming: Consuming, kept: Corrections, migrated_database_url: str
) -> None:
    member = consuming.member()
    send_calls(consuming, 1, random.Random(SEED))  # noqa: S311 - no secret
    member.end()
    [row] = consuming.tables.receipts()
    correct(kept, row["id"], to="0", reason=REFUND)
    with suppress(CrashError):
        publishers.new("before").turn()
    # An account that has no limit is told of what is added, and of nothing else.
    assert [kind for _, kind, _ in waiting(migrated_database_url)] == ["topped_up", "corrected"]
    assert [kind_of(record) for record in consuming.events()] == [RECEIPT_CREATED]
    publishers.free()
    publishers.new().turn()
    assert [kind_of(record) for record in consuming.events()] == [
        RECEIPT_CREATED,
        RECEIPT_CORRECTED,
    ]
