"""Writing batches straight into the ledger, without Kafka."""

from collections.abc import Sequence

from charging.outcomes import Decided, Outcome
from ledger.receipts import ReceiptWriter

ROLE = "billing_consumer"


def outcomes(found: Sequence[Outcome]) -> list[str]:
    """What became of each record, in the order of the batch."""
    return [f"{outcome.outcome} {outcome.reason}" for outcome in found]


def write(ledger: ReceiptWriter, *batch: Decided) -> list[str]:
    """Write a batch and say what became of it."""
    return outcomes(ledger.write(batch))
