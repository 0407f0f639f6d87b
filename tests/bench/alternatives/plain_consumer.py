"""What one would write in an afternoon: Kafka to PostgreSQL, at least once, each call once.

Reads up to 3,000 callbacks, copies them into a temporary table, inserts what is new into the
tables of the first migration, and then moves the offsets. No events for others, no dead letters,
no conflicts, no deferrals, no checks. `python -m tests.bench.alternatives.plain_consumer`
"""

import math
import os
from collections.abc import Callable
from typing import Any, Final, LiteralString, TypeAlias

import orjson
import psycopg
from confluent_kafka import Consumer, KafkaException, Message

Row: TypeAlias = tuple[Any, ...]
Write: TypeAlias = Callable[[psycopg.Cursor[Any], list[Row]], None]

BATCH: Final = 3_000
CREDITS: Final = 10_000_000
TYPES: Final[LiteralString] = """
    call_key text, litellm_call_id text, response_id text, run_id text, attempt int, account text,
    cost numeric, credits bigint, kafka_topic text, kafka_partition int, kafka_offset bigint,
    ended float8, provider_call_id text, model text, provider_model text, provider text,
    call_type text, stream bool, tokens_in bigint, tokens_out bigint, tokens_cached_in bigint,
    tokens_reasoning bigint, latency_ms int, ttft_ms int, graph_id text, sub_agent_id text,
    parent_sub_agent_id text, tool_call_id text, tags text[]
"""
CREATE: Final = f"CREATE TEMPORARY TABLE incoming ({TYPES}) ON COMMIT DELETE ROWS"
RECEIPTS: Final = """
INSERT INTO billing.charge_receipts (
    id, source_system, call_key, litellm_call_id, response_id, source_reference, run_id, attempt,
    billing_account_id, response_cost_usd, charged_usd, charged_credits, cost_source, charge_reason,
    content_hash, kafka_topic, kafka_partition, kafka_offset, occurred_at
) SELECT md5(call_key)::uuid, 'litellm', call_key, litellm_call_id, response_id,
    concat_ws('/', run_id, attempt, call_key), run_id, attempt, account, cost, cost, credits,
    'litellm_callback', 'usage', '', kafka_topic, kafka_partition, kafka_offset, to_timestamp(ended)
FROM incoming ON CONFLICT DO NOTHING
"""
DETAILS: Final = """
INSERT INTO billing.llm_charge_details (
    charge_receipt_id, provider_call_id, model, provider_model, provider, call_type, stream,
    tokens_in, tokens_out, tokens_cached_in, tokens_reasoning, latency_ms, ttft_ms, graph_id,
    sub_agent_id, parent_sub_agent_id, tool_call_id, tags
) SELECT md5(call_key)::uuid, provider_call_id, model, provider_model, provider, call_type, stream,
    tokens_in, tokens_out, tokens_cached_in, tokens_reasoning, latency_ms, ttft_ms, graph_id,
    sub_agent_id, parent_sub_agent_id, tool_call_id, tags
FROM incoming ON CONFLICT DO NOTHING
"""


def row(event: dict[str, Any], message: Message) -> Row:
    """A callback as the columns of `TYPES`."""
    metadata, call_id, response_id = event["metadata"], event["litellm_call_id"], event["id"]
    spend, usage = metadata["spend_logs_metadata"] or {}, metadata["usage_object"] or {}
    start, end, first = event["startTime"], event["endTime"], event["completionStartTime"]
    key, cost = f"{call_id}|{response_id}", event["response_cost"]
    account = event["end_user"] or metadata["user_api_key_team_id"] or "unattributed"
    return (
        key, call_id, response_id, spend.get("run_id") or key, spend.get("attempt") or 0, account,
        cost, math.ceil(cost * CREDITS), message.topic(), message.partition(), message.offset(),
        end, event["hidden_params"]["additional_headers"].get("request-id"), event["model_group"],
        event["model"], event["custom_llm_provider"], event["call_type"], event["stream"],
        event["prompt_tokens"], event["completion_tokens"],
        (usage.get("prompt_tokens_details") or {}).get("cached_tokens"),
        (usage.get("completion_tokens_details") or {}).get("reasoning_tokens"),
        round((end - start) * 1_000), round((first - start) * 1_000), spend.get("graph_id"),
        spend.get("sub_agent_id"), spend.get("parent_sub_agent_id"), spend.get("tool_call_id"),
        event["request_tags"],
    )  # fmt: skip


def copied(cursor: psycopg.Cursor[Any], rows: list[Row]) -> None:
    """Write a batch by COPY and two inserts; calls that are there already stay as they are."""
    with cursor.copy("COPY incoming FROM STDIN") as copy:
        for one in rows:
            copy.write_row(one)
    cursor.execute(RECEIPTS)
    cursor.execute(DETAILS)


def run(decode: Callable[[bytes], Any], write: Write) -> None:
    """Consume until killed, or until something cannot be read or written."""
    consumer = Consumer({
        "bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"],
        "group.id": os.environ["CONSUMER_GROUP"],
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "fetch.queue.backoff.ms": 10,  # without it the client stops fetching for a second at a time
    })  # fmt: skip
    consumer.subscribe([os.environ["BILLING_TOPIC_PREFIX"] + "billing.callbacks.v1"])
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute(CREATE)
        connection.commit()
        while True:
            rows, messages = [], consumer.consume(BATCH, timeout=0.1)
            for message in messages:
                if error := message.error():
                    raise KafkaException(error)
                event = decode(message.value() or b"")
                if event["response_cost"]:
                    rows.append(row(event, message))
            if messages:
                with connection.transaction(), connection.cursor() as cursor:
                    write(cursor, rows)
                consumer.commit(asynchronous=False)


if __name__ == "__main__":
    run(orjson.loads, copied)
