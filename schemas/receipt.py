"""The receipt event: what other teams read from `billing.receipts.v1`.

CloudEvents 1.0 in binary mode of the Kafka protocol binding: attributes are `ce_*` headers, the
value is the receipt as JSON. NO_CONTENT_IN_RECEIPTS: never a prompt or an answer. Money is text in
plain decimal notation, because a JSON number is a float to most readers (MONEY_IS_EXACT).
"""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from hashlib import sha1
from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from schemas.cloud_event import Attributes, EventRecord, cloud_event

EVENT_TYPE: Final = "billing.receipt.created.v1"


NAMESPACE: Final = UUID("6f1d3c62-8a39-5d0e-9b57-0c6a4f2e7b11")
"""Of the receipts' ids."""
_NAMESPACE_BYTES: Final = NAMESPACE.bytes


def receipt_id(source_system: str, call_key: str) -> UUID:
    """Return the id of the receipt of a call: the same one, whenever and wherever it is written.

    A UUID of version 5 (RFC 9562): a ledger that is rebuilt from the callbacks has the ids that
    subscribers have already seen. `uuid.uuid5`, which gives the same, takes twice as long.
    """
    name = f"{source_system}\x00{call_key}".encode()
    digest = bytearray(sha1(_NAMESPACE_BYTES + name, usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return msgspec.convert(bytes(digest), UUID)


PLAIN_DECIMAL: Final = r"^[0-9]+(\.[0-9]+)?$"
"""What `plain` returns, as a pattern: JSON Schema knows no format for it."""

_Amount = Annotated[Decimal, Meta(extra_json_schema={"pattern": PLAIN_DECIMAL})]


def plain(amount: Decimal) -> str:
    """Return `amount` in plain decimal notation, every digit kept: 4.95E-6 is 0.00000495.

    A zero has no sign.
    """
    return format(amount or abs(amount), "f")


class ChargeReason(StrEnum):
    """Why the receipt has its amount."""

    USAGE = "usage"
    PARTIAL = "partial"
    """The stream broke after output had begun; the cost is LiteLLM's estimate."""
    CACHE_HIT = "cache_hit"
    FREE_MODEL = "free_model"
    HEALTH_PROBE = "health_probe"
    """LiteLLM's own probe: on the internal account."""
    SILENT_EXPERIMENT = "silent_experiment"
    """A shadow call that no customer asked for: on the internal account."""


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """This call was charged this much. Immutable once written (RECEIPTS_ARE_IMMUTABLE)."""

    id: UUID
    source_system: Annotated[
        str, Meta(description="`litellm`, or `litellm/<source of the token>`.")
    ]
    call_key: Annotated[str, Meta(description="Idempotency key, unique with source_system.")]
    litellm_call_id: str | None
    response_id: str
    source_reference: Annotated[str, Meta(description="run/attempt/call key.")]
    run_id: Annotated[str, Meta(description="The call key itself where the call names no run.")]
    attempt: int
    billing_account_id: str
    response_cost_usd: Annotated[_Amount, Meta(description="LiteLLM's figure, untouched.")]
    charged_usd: Annotated[_Amount, Meta(description="response_cost_usd × markup, exact.")]
    charged_credits: Annotated[int, Meta(description="charged_usd × 10,000,000, rounded up once.")]
    cost_source: str
    charge_reason: ChargeReason
    marks: Annotated[
        list[str], Meta(description="Further remarks, for instance unattributed_account.")
    ]
    occurred_at: Annotated[datetime, Meta(tz=True, description="When the call ended.")]
    model: Annotated[
        str | None, Meta(description="The model group the customer asked for, else the model.")
    ]
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
    team_id: Annotated[
        str | None, Meta(description="The proxy's team of the key, which no client can choose.")
    ] = None
    team_alias: str | None = None
    key_alias: Annotated[
        str | None, Meta(description="The name of the proxy's key, never the key.")
    ] = None
    organization_id: Annotated[
        str | None, Meta(description="The proxy's organisation of the key.")
    ] = None


def to_kafka(receipt: Receipt) -> EventRecord:
    """Return the Kafka record of a receipt: key = run id."""
    attributes = Attributes(
        receipt.id,
        f"/billing/{receipt.source_system}",
        EVENT_TYPE,
        receipt.billing_account_id,
        receipt.occurred_at,
    )
    event = replace(
        receipt,
        response_cost_usd=plain(receipt.response_cost_usd),
        charged_usd=plain(receipt.charged_usd),
    )
    return cloud_event(attributes, receipt.run_id, event)
