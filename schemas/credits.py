"""The credit event: what other teams read from `billing.credits.v1`.

CloudEvents 1.0 in binary mode of the Kafka protocol binding, like receipts: attributes are `ce_*`
headers, the value is the event as JSON. Amounts are whole credits, 10,000,000 = 1 USD.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from schemas.cloud_event import Attributes, EventRecord, cloud_event

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


def to_kafka(event: CreditEvent) -> EventRecord:
    """Return the Kafka record of an event: key = account."""
    account = event.billing_account_id
    attributes = Attributes(event.id, SOURCE, event.type.ce_type, account, event.occurred_at)
    return cloud_event(attributes, account, event)
