"""The correction: what other teams read beside receipts from `billing.receipts.v1`.

What a receipt charges is put right by events that point at it; the receipt stays as it is.
CloudEvents 1.0 in binary mode of the Kafka protocol binding, under the key of the receipt. It names
no person and holds no note: these stay in the ledger.
"""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Final
from uuid import UUID, uuid5

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from schemas.cloud_event import Attributes, EventRecord, cloud_event
from schemas.receipt import NAMESPACE, PLAIN_DECIMAL, plain

EVENT_TYPE: Final = "billing.receipt.corrected.v1"

_SIGNED_DECIMAL: Final = r"^-?[0-9]+(\.[0-9]+)?$"


def correction_id(reference: str) -> UUID:
    """Return the id of the correction with a reference: the same one, whenever it is made.

    Whoever repeats it in a ledger that has lost it gives no event that subscribers count twice.
    """
    return uuid5(NAMESPACE, f"correction\x00{reference}")


class CorrectionReason(StrEnum):
    """Why a receipt is corrected."""

    REFUND = "refund"
    """The customer gets some of it back."""
    PRICE = "price"
    """The price was wrong."""
    LATE_USAGE = "late_usage"
    """The call used more than its callback said."""
    TWIN = "twin"
    """Another receipt is of the same call."""
    CONFLICT = "conflict"
    """A callback that contradicts the receipt was looked at."""


class Correction(msgspec.Struct, frozen=True, gc=False):
    """What this receipt charges was put right by this much. Sum these with the receipts."""

    id: UUID
    receipt_id: UUID
    number: Annotated[int, Meta(ge=1, description="1 for the first correction of its receipt.")]
    reason: CorrectionReason
    reference: Annotated[str, Meta(description="The name that whoever corrected gave it.")]
    amount_usd: Annotated[
        Decimal,
        Meta(
            description="Added to charged_usd; may be below zero.",
            extra_json_schema={"pattern": _SIGNED_DECIMAL},
        ),
    ]
    amount_credits: Annotated[int, Meta(description="Added to charged_credits; may be below zero.")]
    corrected_usd: Annotated[
        Decimal,
        Meta(
            description="What the receipt charges with its corrections up to this one.",
            extra_json_schema={"pattern": PLAIN_DECIMAL},
        ),
    ]
    corrected_credits: Annotated[
        int, Meta(ge=0, description="The same in credits, corrected_usd rounded up once.")
    ]
    source_system: Annotated[str, Meta(description="Of the receipt, as all that follows.")]
    call_key: str
    litellm_call_id: str | None
    response_id: str
    run_id: str
    attempt: int
    billing_account_id: str
    team_id: str | None
    model: str | None
    occurred_at: Annotated[datetime, Meta(tz=True, description="When it was corrected.")]


def to_kafka(correction: Correction) -> EventRecord:
    """Return the Kafka record of a correction: key = run id."""
    attributes = Attributes(
        correction.id,
        f"/billing/{correction.source_system}",
        EVENT_TYPE,
        correction.billing_account_id,
        correction.occurred_at,
    )
    event = replace(
        correction,
        amount_usd=plain(correction.amount_usd),
        corrected_usd=plain(correction.corrected_usd),
    )
    return cloud_event(attributes, correction.run_id, event)
