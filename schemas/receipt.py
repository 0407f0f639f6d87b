"""The receipt event: what other teams read from `billing.receipts.v1`.

CloudEvents 1.0 in binary mode of the Kafka protocol binding: attributes are `ce_*` headers, the
value is the receipt as JSON. NO_CONTENT_IN_RECEIPTS: never a prompt or an answer. Money is text in
plain decimal notation, because a JSON number is a float to most readers (MONEY_IS_EXACT).
"""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Final
from uuid import UUID, uuid5

from cloudevents.core.bindings.kafka import KafkaMessage, to_binary_event
from cloudevents.core.v1.event import CloudEvent
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

EVENT_TYPE: Final = "billing.receipt.created.v1"


_NAMESPACE: Final = UUID("6f1d3c62-8a39-5d0e-9b57-0c6a4f2e7b11")


def receipt_id(source_system: str, call_key: str) -> UUID:
    """Return the id of the receipt of a call: the same one, whenever and wherever it is written.

    A ledger that is rebuilt from the callbacks has the ids that subscribers have already seen.
    """
    return uuid5(_NAMESPACE, f"{source_system}\x00{call_key}")


def plain(amount: Decimal) -> str:
    """Return `amount` in plain decimal notation, every digit kept: 4.95E-6 is 0.00000495."""
    return format(amount, "f")


Amount = Annotated[Decimal, PlainSerializer(plain, return_type=str)]


class ChargeReason(StrEnum):
    """Why the receipt has its amount."""

    USAGE = "usage"
    PARTIAL = "partial"
    """The stream broke after output had begun; the cost is LiteLLM's estimate."""
    CACHE_HIT = "cache_hit"
    FREE_MODEL = "free_model"
    HEALTH_PROBE = "health_probe"
    """LiteLLM's own probe: on the house account."""
    SILENT_EXPERIMENT = "silent_experiment"
    """A shadow call that no customer asked for: on the house account."""


class Receipt(BaseModel):
    """This call was charged this much. Immutable once written (RECEIPTS_ARE_IMMUTABLE)."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    source_system: str = Field(description="`litellm`, or `litellm/<source of the token>`.")
    call_key: str = Field(description="Idempotency key, unique with source_system.")
    litellm_call_id: str | None
    response_id: str
    source_reference: str = Field(description="run/attempt/call key.")
    run_id: str = Field(description="The call key itself where the call names no run.")
    attempt: int
    billing_account_id: str
    response_cost_usd: Amount = Field(description="LiteLLM's figure, untouched.")
    charged_usd: Amount = Field(description="response_cost_usd × markup, exact.")
    charged_credits: int = Field(description="charged_usd × 10,000,000, rounded up once.")
    cost_source: str
    charge_reason: ChargeReason
    marks: list[str] = Field(description="Further remarks, for instance unattributed_account.")
    occurred_at: datetime = Field(description="When the call ended.")
    model: str | None = Field(description="The model group the customer asked for, else the model.")
    provider_model: str | None
    provider: str | None
    call_type: str | None
    stream: bool
    tokens_in: int | None
    tokens_out: int | None
    tokens_cached_in: int | None
    tokens_reasoning: int | None
    latency_ms: int | None
    ttft_ms: int | None
    graph_id: str | None
    sub_agent_id: str | None
    parent_sub_agent_id: str | None
    tool_call_id: str | None
    tags: list[str]


def to_kafka(receipt: Receipt) -> KafkaMessage:
    """Return the Kafka record of a receipt: `ce_*` headers, key = run id, value = JSON."""
    event = CloudEvent(
        attributes={
            "id": str(receipt.id),
            "source": f"/billing/{receipt.source_system}",
            "type": EVENT_TYPE,
            "specversion": "1.0",
            "subject": receipt.billing_account_id,
            "time": receipt.occurred_at,
            "datacontenttype": "application/json",
            "partitionkey": receipt.run_id,
        },
        data=receipt.model_dump_json().encode(),
    )
    return to_binary_event(event)
