"""The exact plain consumer that inserts row by row, a batch in one transaction.

`python -m tests.bench.alternatives.executemany_consumer`
"""

from typing import Any, Final

import psycopg

from tests.bench.alternatives.exact_consumer import decode
from tests.bench.alternatives.plain_consumer import TYPES, Row, run

NAMES: Final = [column.split()[0] for column in TYPES.split(",")]
RECEIPT: Final = """
INSERT INTO billing.charge_receipts (
    id, source_system, call_key, litellm_call_id, response_id, source_reference, run_id, attempt,
    billing_account_id, response_cost_usd, charged_usd, charged_credits, cost_source, charge_reason,
    content_hash, kafka_topic, kafka_partition, kafka_offset, occurred_at
) VALUES (
    md5(%(call_key)s)::uuid, 'litellm', %(call_key)s, %(litellm_call_id)s, %(response_id)s,
    concat_ws('/', %(run_id)s::text, %(attempt)s::text, %(call_key)s::text), %(run_id)s,
    %(attempt)s, %(account)s, %(cost)s, %(cost)s, %(credits)s, 'litellm_callback', 'usage', '',
    %(kafka_topic)s, %(kafka_partition)s, %(kafka_offset)s, to_timestamp(%(ended)s)
) ON CONFLICT DO NOTHING
"""
DETAIL: Final = """
INSERT INTO billing.llm_charge_details (
    charge_receipt_id, provider_call_id, model, provider_model, provider, call_type, stream,
    tokens_in, tokens_out, tokens_cached_in, tokens_reasoning, latency_ms, ttft_ms, graph_id,
    sub_agent_id, parent_sub_agent_id, tool_call_id, tags
) VALUES (
    md5(%(call_key)s)::uuid, %(provider_call_id)s, %(model)s, %(provider_model)s, %(provider)s,
    %(call_type)s, %(stream)s, %(tokens_in)s, %(tokens_out)s, %(tokens_cached_in)s,
    %(tokens_reasoning)s, %(latency_ms)s, %(ttft_ms)s, %(graph_id)s, %(sub_agent_id)s,
    %(parent_sub_agent_id)s, %(tool_call_id)s, %(tags)s
) ON CONFLICT DO NOTHING
"""


def inserted(cursor: psycopg.Cursor[Any], rows: list[Row]) -> None:
    """Write a batch by two inserts a call; calls that are there already stay as they are."""
    named = [dict(zip(NAMES, one, strict=True)) for one in rows]
    cursor.executemany(RECEIPT, named)
    cursor.executemany(DETAIL, named)


if __name__ == "__main__":
    run(decode, inserted)
