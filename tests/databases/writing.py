"""Writing batches straight into the ledger, without Kafka."""

from collections.abc import Sequence
from contextlib import closing

from charging.outcomes import Decided, Outcome
from ledger.receipts import ReceiptWriter

ROLE = "billing_consumer"


def outcomes(found: Sequence[Outcome]) -> list[str]:
    """What became of each record, in the order of the batch."""
    return [f"{outcome.outcome} {outcome.reason}" for outcome in found]


def write(ledger: ReceiptWriter, *batch: Decided) -> list[str]:
    """Write a batch and say what became of it."""
    return outcomes(ledger.write(batch))


def write_to(url: str, records: Sequence[Decided], each: int = 7) -> list[str]:
    """Write records in several batches, and say what became of them."""
    with closing(ReceiptWriter(url, ROLE)) as ledger:
        parts = [records[at : at + each] for at in range(0, len(records), each)]
        return [said for part in parts for said in outcomes(ledger.write(part))]
