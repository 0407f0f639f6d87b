"""The credit event: what other teams read from `billing.credits.v1`.

CloudEvents 1.0 in binary mode of the Kafka protocol binding, like receipts: attributes are `ce_*`
headers, the value is the event as JSON. Amounts are whole credits, 10,000,000 = 1 USD.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Literal, NamedTuple
from uuid import UUID

import msgspec
from msgspec import Meta

SOURCE: Final = "/billing/credits"


class CreditEventType(StrEnum):
    """What happened to the account."""

    THRESHOLD_CROSSED = "threshold_crossed"
    """What is left fell below an amount that the operator has set."""
    EXHAUSTED = "exhausted"
    """Nothing is left."""
    TOPPED_UP = "topped_up"
    """Credits were added, by whatever reason."""
    HOLD_EXPIRED = "hold_expired"
    """A call that was let pass has neither a receipt nor an end."""

    @property
    def ce_type(self) -> str:
        """The type as an attribute of the event."""
        return f"billing.credits.{self.value}.v1"


class CreditEvent(msgspec.Struct, frozen=True, gc=False):
    """This happened to an account of credits. `balance` and the like are those behind it."""

    id: UUID
    type: CreditEventType
    billing_account_id: str
    kind: Literal["prepaid", "postpaid"]
    balance: Annotated[int, Meta(description="Sum of the account's movements, credits.")]
    held: Annotated[int, Meta(description="What calls under way may take of it, credits.")]
    limit: Annotated[
        int | None, Meta(description="How far below zero it may go, credits; null: without end.")
    ]
    threshold: Annotated[
        int | None,
        Meta(description="Of threshold_crossed: balance and limit together are below it now."),
    ]
    amount: Annotated[
        int | None, Meta(description="Credits that were added, or that the hold has freed.")
    ]
    reason: Annotated[str | None, Meta(description="Of topped_up: what added them.")]
    litellm_call_id: Annotated[str | None, Meta(description="Of hold_expired: LiteLLM's call.")]
    run_id: str | None
    attempt: int | None
    model: str | None
    occurred_at: Annotated[datetime, Meta(tz=True, description="When it happened.")]


class CreditRecord(NamedTuple):
    """A credit event as a Kafka record: names and values of its headers in UTF-8, key, value."""

    headers: dict[str, bytes]
    key: str
    value: bytes


_encoder: Final = msgspec.json.Encoder()


def to_kafka(event: CreditEvent) -> CreditRecord:
    """Return the Kafka record of an event: `ce_*` headers, key = account, value = JSON."""
    account = event.billing_account_id
    headers = {
        "ce_id": str(event.id).encode(),
        "ce_source": SOURCE.encode(),
        "ce_type": event.type.ce_type.encode(),
        "ce_specversion": b"1.0",
        "ce_subject": account.encode(),
        "ce_time": _encoder.encode(event.occurred_at)[1:-1],
        "content-type": b"application/json",
        "ce_partitionkey": account.encode(),
    }
    return CreditRecord(headers, account, _encoder.encode(event))
