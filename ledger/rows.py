"""Decisions as rows: values in the order of the columns in `sql/`, and their types for COPY."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from charging.kept import kept_of
from charging.origin import origin_of
from charging.outcomes import Charge, Deferred, Settlement, Usage
from ledger.gap import Published
from schemas.receipt import receipt_id
from schemas.record import Record
from schemas.text import identifier

RECEIPT_TYPES: Final = (
    "uuid", "text", "text", "text", "text", "text", "text", "int4",
    "text", "numeric", "numeric", "int8", "text", "text",
    "text[]", "text", "text", "int4", "int8", "timestamptz",
    "text", "text", "text", "text", "text", "bool",
    "int8", "int8", "int8", "int8", "int4", "int4", "text",
    "text", "text", "text", "text[]", "numeric",
    "timestamptz", "text", "text", "text", "text", "text", "text", "int8",
)  # fmt: skip


def receipt_row(record: Record, charge: Charge, batch: int | None) -> tuple[Any, ...]:
    """Return a charge as the values of `copy_receipts`; `batch` is that of its debit."""
    r = charge.receipt
    return (
        r.id,
        r.source_system,
        r.call_key,
        r.litellm_call_id,
        r.response_id,
        r.source_reference,
        r.run_id,
        r.attempt,
        r.billing_account_id,
        r.response_cost_usd,
        r.charged_usd,
        r.charged_credits,
        r.cost_source,
        r.charge_reason.value,
        r.marks,
        charge.content_hash,
        record.topic,
        record.partition,
        record.offset,
        r.occurred_at,
        charge.provider_call_id,
        r.model,
        r.provider_model,
        r.provider,
        r.call_type,
        r.stream,
        r.tokens_in,
        r.tokens_out,
        r.tokens_cached_in,
        r.tokens_reasoning,
        r.latency_ms,
        r.ttft_ms,
        r.graph_id,
        r.sub_agent_id,
        r.parent_sub_agent_id,
        r.tool_call_id,
        r.tags,
        charge.saved_cache_cost,
        charge.started_at,
        r.team_id,
        r.team_alias,
        r.key_alias,
        charge.key_hash,
        charge.user_id,
        r.organization_id,
        batch,
    )


def deferred_row(
    ordinal: int, record: Record, deferred: Deferred, settlement: Settlement | None
) -> dict[str, Any]:
    """Return a deferral, and who has settled it already, as a row of `insert_deferred`."""
    d = deferred
    return {
        "ordinal": ordinal,
        "source_system": d.source_system,
        "call_key": d.call_key,
        "litellm_call_id": d.litellm_call_id,
        "response_id": d.response_id,
        "reason": d.reason,
        "suggested_cost_usd": d.suggested_cost_usd,
        "run_id": d.run_id,
        "model": d.model,
        "provider": d.provider,
        "tokens_in": d.tokens_in,
        "tokens_out": d.tokens_out,
        "kafka_topic": record.topic,
        "kafka_partition": record.partition,
        "kafka_offset": record.offset,
        "occurred_at": d.occurred_at,
        "sent_cost": d.sent_cost,
        "link": d.link and d.link.digest,
        "held": d.held and msgspec.to_builtins(d.held),
        "resolved_by": settlement and settlement.by,
        "resolution_note": settlement and settlement.note,
        "receipt_id": receipt_id(d.source_system, d.call_key),
        "started_at": d.started_at,
        "billing_account_id": d.billing_account_id,
        "team_id": d.caller.team_id,
        "team_alias": d.caller.team_alias,
        "key_alias": d.caller.key_alias,
        "key_hash": d.caller.key_hash,
        "user_id": d.caller.user_id,
        "organization_id": d.caller.organization_id,
        "sub_agent_id": d.sub_agent_id,
        "parent_sub_agent_id": d.parent_sub_agent_id,
        "tags": list(d.tags),
        "callback": kept_of(record.value),
        "received_at": datetime.fromtimestamp(origin_of(record).received_ms / 1_000, UTC),
    }


def conflict_row(record: Record, charge: Charge, receipt_content_hash: str) -> dict[str, Any]:
    """Return a charge that contradicts its receipt as the parameters of `insert_conflict`."""
    return {
        "charge_receipt_id": charge.receipt.id,
        "source_system": charge.receipt.source_system,
        "call_key": charge.receipt.call_key,
        "receipt_content_hash": receipt_content_hash,
        "conflict_content_hash": charge.content_hash,
        "billing_account_id": charge.receipt.billing_account_id,
        "response_cost_usd": charge.receipt.response_cost_usd,
        "model": charge.receipt.model,
        "tokens_in": charge.receipt.tokens_in,
        "tokens_out": charge.receipt.tokens_out,
        "kafka_topic": record.topic,
        "kafka_partition": record.partition,
        "kafka_offset": record.offset,
    }


def usage_row(record: Record, usage: Usage) -> dict[str, Any]:
    """Return a usage unit as the parameters of `insert_usage_unit`.

    Its ids have the form that they have on receipts, so that the two can be compared.
    """
    values = {
        name: identifier(value) if isinstance(value, str) else value
        for name, value in usage.unit.model_dump().items()
    }
    provenance = {
        "kafka_topic": record.topic,
        "kafka_partition": record.partition,
        "kafka_offset": record.offset,
    }
    return values | provenance


def published_rows(published: Sequence[Published]) -> dict[str, list[Any]]:
    """Return the columns of `remember_published`, one list each."""
    return {
        "groups": [one.group for one in published],
        "topics": [one.topic for one in published],
        "partitions": [one.partition for one in published],
        "ids": [one.topic_id for one in published],
        "offsets": [one.next_offset for one in published],
        "published": [one.published_offset for one in published],
        "committed": [one.committed for one in published],
    }
