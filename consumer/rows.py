"""Decisions as rows for COPY: column names and values in one place."""

from collections.abc import Sequence
from typing import Any, Final

from consumer.record import Charge, Deferred, Published, Record, Usage
from schemas.text import identifier

RECEIPT_COLUMNS: Final = (
    "ordinal", "id", "source_system", "call_key", "litellm_call_id", "response_id",
    "source_reference", "run_id", "attempt", "billing_account_id", "response_cost_usd",
    "charged_usd", "charged_credits", "cost_source", "charge_reason", "marks", "content_hash",
    "kafka_topic", "kafka_partition", "kafka_offset", "occurred_at", "provider_call_id", "model",
    "provider_model", "provider", "call_type", "stream", "tokens_in", "tokens_out",
    "tokens_cached_in", "tokens_reasoning", "latency_ms", "ttft_ms", "graph_id", "sub_agent_id",
    "parent_sub_agent_id", "tool_call_id", "tags", "saved_cache_cost",
    "resolved_by", "resolution_note",
)  # fmt: skip

DEFERRED_COLUMNS: Final = (
    "ordinal", "source_system", "call_key", "litellm_call_id", "response_id", "reason",
    "suggested_cost_usd", "run_id", "model", "provider", "tokens_in", "tokens_out",
    "kafka_topic", "kafka_partition", "kafka_offset", "occurred_at",
)  # fmt: skip


def receipt_row(ordinal: int, record: Record, charge: Charge) -> tuple[Any, ...]:
    """Return a charge as the values of `RECEIPT_COLUMNS`."""
    r, settled = charge.receipt, charge.settlement
    return (
        ordinal, r.id, r.source_system, r.call_key, r.litellm_call_id, r.response_id,
        r.source_reference, r.run_id, r.attempt, r.billing_account_id, r.response_cost_usd,
        r.charged_usd, r.charged_credits, r.cost_source, r.charge_reason.value, r.marks,
        charge.content_hash, record.topic, record.partition, record.offset, r.occurred_at,
        charge.provider_call_id, r.model, r.provider_model, r.provider, r.call_type, r.stream,
        r.tokens_in, r.tokens_out, r.tokens_cached_in, r.tokens_reasoning, r.latency_ms, r.ttft_ms,
        r.graph_id, r.sub_agent_id, r.parent_sub_agent_id, r.tool_call_id, r.tags,
        charge.saved_cache_cost,
        settled and settled.by, settled and settled.note,
    )  # fmt: skip


def deferred_row(ordinal: int, record: Record, deferred: Deferred) -> tuple[Any, ...]:
    """Return a deferral as the values of `DEFERRED_COLUMNS`."""
    d = deferred
    return (
        ordinal, d.source_system, d.call_key, d.litellm_call_id, d.response_id, d.reason,
        d.suggested_cost_usd, d.run_id, d.model, d.provider, d.tokens_in, d.tokens_out,
        record.topic, record.partition, record.offset, d.occurred_at,
    )  # fmt: skip


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
    }
