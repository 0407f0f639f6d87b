"""The checkpoint: what auditors keep from `billing.receipts.v1`.

A link of a chain over everything that the ledger has written. Whoever keeps the last one can have
`billing verify` show that nothing from before it was changed since. CloudEvents 1.0 in binary mode
of the Kafka protocol binding; all have one key.
"""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from schemas.cloud_event import Attributes, EventRecord, cloud_event

EVENT_TYPE: Final = "billing.checkpoint.v1"
SOURCE: Final = "/billing/ledger"
KEY: Final = "checkpoints"
_HASH: Final = "^[0-9a-f]{64}$"


class Checkpoint(msgspec.Struct, frozen=True, gc=False):
    """Everything that was written up to here has this hash."""

    number: Annotated[int, Meta(ge=1, description="1 for the first; there are no gaps.")]
    previous: Annotated[
        str, Meta(pattern=_HASH, description="The hash of the one before it; zeros for the first.")
    ]
    hash: Annotated[
        str, Meta(pattern=_HASH, description="SHA-256 of the previous hash and of what it covers.")
    ]
    seals: Annotated[int, Meta(ge=1, description="Transactions of the ledger that it covers.")]
    records: Annotated[int, Meta(ge=1, description="Receipts and corrections in them.")]
    made_at: Annotated[datetime, Meta(tz=True, description="When it was made.")]


def to_kafka(checkpoint: Checkpoint) -> EventRecord:
    """Return the Kafka record of a checkpoint."""
    attributes = Attributes(str(checkpoint.number), SOURCE, EVENT_TYPE, KEY, checkpoint.made_at)
    return cloud_event(attributes, KEY, checkpoint)
