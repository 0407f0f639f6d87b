"""The checkpoint: what auditors keep from `billing.receipts.v1`.

A link of a chain over everything that the ledger has written. Whoever keeps the last one can have
`billing verify` show that nothing from before it was changed since. CloudEvents 1.0 in binary mode
of the Kafka protocol binding; all have one key.
"""

from datetime import datetime
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta

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


class CheckpointRecord(NamedTuple):
    """A checkpoint as a Kafka record: names and values of its headers in UTF-8, key, value."""

    headers: dict[str, bytes]
    key: str
    value: bytes


_encoder: Final = msgspec.json.Encoder()


def to_kafka(checkpoint: Checkpoint) -> CheckpointRecord:
    """Return the Kafka record of a checkpoint: `ce_*` headers, value = JSON."""
    headers = {
        "ce_id": str(checkpoint.number).encode(),
        "ce_source": SOURCE.encode(),
        "ce_type": EVENT_TYPE.encode(),
        "ce_specversion": b"1.0",
        "ce_subject": KEY.encode(),
        "ce_time": _encoder.encode(checkpoint.made_at)[1:-1],
        "content-type": b"application/json",
        "ce_partitionkey": KEY.encode(),
    }
    return CheckpointRecord(headers, KEY, _encoder.encode(checkpoint))
