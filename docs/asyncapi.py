"""The topics as an AsyncAPI document: what other teams may rely on, for tools.

Made of `schemas/topics.yaml`, the JSON Schemas and the examples; `docs.generate` writes it.
"""

import json
from pathlib import Path
from typing import Any, Final, TypeAlias

from charging.origin import FROM_BREAKDOWN
from runtime import VERSION
from schemas import checkpoint, correction, headers, run_total
from schemas.credits import SOURCE, CreditEventType
from schemas.topics import Topic, load_topics

ROOT: Final = Path(__file__).resolve().parent.parent
_EXAMPLES: Final = ROOT / "schemas" / "examples"
_DRAFT: Final = "application/schema+json;version=draft-07"
"""The newest JSON Schema that AsyncAPI's own parser checks payloads by."""
_BINDING: Final = "0.5.0"
_BOUND: Final = ("cleanup.policy", "retention.ms", "retention.bytes", "max.message.bytes")
"""Settings of a topic that the Kafka binding of AsyncAPI has a name for."""

_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "string", "pattern": "^-?[0-9]+$"}

CALLBACK_HEADERS: Final[dict[str, dict[str, Any]]] = {
    headers.SOURCE: _TEXT | {"description": "`litellm`, or `litellm/<name of a further proxy>`."},
    headers.RECEIVED_AT: _TEXT
    | {"format": "date-time", "description": "When the gateway received it; UTC, milliseconds."},
    headers.CALL_KEY: _TEXT
    | {"description": "The same call may come several times: keep the first."},
    headers.CONTENT_TYPE: _TEXT | {"description": "Content type of the request."},
    headers.GATEWAY_VERSION: _TEXT | {"description": "Version of the gateway."},
    headers.TRACEPARENT: _TEXT
    | {"description": "W3C Trace Context, if the request had a valid one."},
    headers.LENIENT_JSON: {
        "const": "true",
        "description": "Strict JSON parsers refuse this value; absent where it is strict JSON.",
    },
    headers.CONTENT_DROPPED: {
        "enum": [dropped.value for dropped in headers.ContentDropped],
        "description": "Fields were cut out; absent where the value is what LiteLLM sent.",
    },
    headers.ORIGINAL_BYTES: _NUMBER
    | {"description": "Length of what was sent, where a value over the limit was cut."},
    headers.ORIGINAL_SHA256: _TEXT | {"description": "SHA-256 of what was sent, likewise."},
    headers.SETTLED_BY: _TEXT
    | {"description": "Who set the cost by hand; the value is then not what LiteLLM sent."},
    headers.SETTLED_NOTE: _TEXT | {"description": "Why."},
    headers.SETTLED_CALL_KEY: _TEXT | {"description": "The call key of the deferred call."},
    headers.SETTLED_FROM: {
        "const": FROM_BREAKDOWN.decode(),
        "description": "A rule took it from `cost_breakdown`; absent where a person named it.",
    },
    headers.REPLAYED_FROM: _TEXT
    | {"description": "The record was a dead letter: topic/partition/offset."},
}
DEAD_LETTER_HEADERS: Final[dict[str, dict[str, Any]]] = {
    headers.REASON: {
        "enum": [reason.value for reason in headers.Reason],
        "description": "Why it is a dead letter.",
    },
    headers.REASON_DETAIL: _TEXT | {"description": "Often a sentence with details."},
    headers.ORIGINAL_TOPIC: _TEXT
    | {"description": "Where the record was; absent if the gateway parked it."},
    headers.ORIGINAL_PARTITION: _NUMBER | {"description": "Likewise."},
    headers.ORIGINAL_OFFSET: _NUMBER | {"description": "Likewise."},
    headers.ORIGINAL_TIMESTAMP: _NUMBER
    | {"description": "Likewise, milliseconds since the epoch, as Kafka has it."},
    headers.CONSUMER_GROUP: _TEXT
    | {"description": "The group that parked it; absent if the gateway did."},
    headers.APPLICATION_VERSION: _TEXT | {"description": "Version of the consumer, likewise."},
    headers.PART_INDEX: _NUMBER | {"description": "This record is one part of a longer value."},
    headers.PART_COUNT: _NUMBER | {"description": "How many parts there are."},
    headers.BODY_SHA256: _TEXT | {"description": "SHA-256 of the whole value."},
    headers.HEADER_NAMES_LOST: _NUMBER
    | {"description": "How many headers had a name that is no UTF-8."},
    headers.HEADERS_CUT: _NUMBER
    | {"description": "How many of the record's own headers no dead letter can hold."},
    headers.KEY_CUT: _NUMBER
    | {"description": "Bytes of the record's own key, where this key is its SHA-256."},
}
RECEIPT_HEADERS: Final[dict[str, dict[str, Any]]] = {
    "ce_id": _TEXT | {"format": "uuid", "description": "The receipt's id: your idempotency key."},
    "ce_source": _TEXT | {"description": "`/billing/litellm`, or with `/<name of a proxy>`."},
    "ce_type": {"const": "billing.receipt.created.v1"},
    "ce_specversion": {"const": "1.0"},
    "ce_subject": _TEXT | {"description": "The account."},
    "ce_time": _TEXT | {"format": "date-time", "description": "When the call ended."},
    "ce_partitionkey": _TEXT | {"description": "The run id."},
    "content-type": {"const": "application/json"},
    headers.TRACEPARENT: _TEXT
    | {"description": "W3C Trace Context of the batch, where the consumer tells its traces."},
}
CORRECTION_HEADERS: Final[dict[str, dict[str, Any]]] = {
    **{name: told for name, told in RECEIPT_HEADERS.items() if name != headers.TRACEPARENT},
    "ce_id": _TEXT
    | {"format": "uuid", "description": "The correction's id: your idempotency key."},
    "ce_type": {"const": correction.EVENT_TYPE},
    "ce_time": _TEXT | {"format": "date-time", "description": "When it was corrected."},
}
CHECKPOINT_HEADERS: Final[dict[str, dict[str, Any]]] = {
    **CORRECTION_HEADERS,
    "ce_id": _TEXT | {"description": "The checkpoint's number."},
    "ce_source": {"const": checkpoint.SOURCE},
    "ce_type": {"const": checkpoint.EVENT_TYPE},
    "ce_subject": {"const": checkpoint.KEY},
    "ce_time": _TEXT | {"format": "date-time", "description": "When it was made."},
    "ce_partitionkey": {"const": checkpoint.KEY},
}
RUN_TOTAL_HEADERS: Final[dict[str, dict[str, Any]]] = {
    **CORRECTION_HEADERS,
    "ce_id": _TEXT | {"format": "uuid", "description": "The event's id: your idempotency key."},
    "ce_source": {"const": run_total.SOURCE},
    "ce_type": {"const": run_total.EVENT_TYPE},
    "ce_subject": _TEXT | {"description": "The run id."},
    "ce_time": _TEXT | {"format": "date-time", "description": "When the run was summed up."},
}
CREDIT_HEADERS: Final[dict[str, dict[str, Any]]] = {
    "ce_id": _TEXT | {"format": "uuid", "description": "The event's id: your idempotency key."},
    "ce_source": {"const": SOURCE},
    "ce_type": {
        "enum": [kind.ce_type for kind in CreditEventType],
        "description": "What happened; more may follow: ignore those that you do not know.",
    },
    "ce_specversion": {"const": "1.0"},
    "ce_subject": _TEXT | {"description": "The account."},
    "ce_time": _TEXT | {"format": "date-time", "description": "When it happened."},
    "ce_partitionkey": _TEXT | {"description": "The account."},
    "content-type": {"const": "application/json"},
}
_Message: TypeAlias = tuple[str, dict[str, dict[str, Any]], tuple[str, ...], str]
_MESSAGES: Final[dict[str, tuple[_Message, ...]]] = {
    "callbacks": (
        (
            "callback",
            CALLBACK_HEADERS,
            (headers.SOURCE, headers.RECEIVED_AT),
            (
                "One LLM call as LiteLLM reported it, byte for byte; the schema has what billing "
                "reads."
            ),
        ),
    ),
    "dead_letters": (
        (
            "dead_letter",
            DEAD_LETTER_HEADERS | CALLBACK_HEADERS,
            (headers.REASON,),
            "Bytes that could not be billed as they stand. They may be anything.",
        ),
    ),
    "receipts": (
        (
            "receipt",
            RECEIPT_HEADERS,
            tuple(name for name in RECEIPT_HEADERS if name != headers.TRACEPARENT),
            (
                "This call was charged this much. Receipts never change and are never withdrawn. "
                "CloudEvents 1.0, binary mode. Read with isolation.level=read_committed."
            ),
        ),
        (
            "correction",
            CORRECTION_HEADERS,
            tuple(CORRECTION_HEADERS),
            (
                "What this receipt charges was put right by this much: add it to the receipt. "
                "Readers that want receipts alone skip it by its ce_type."
            ),
        ),
        (
            "checkpoint",
            CHECKPOINT_HEADERS,
            tuple(CHECKPOINT_HEADERS),
            (
                "Everything that was written up to here has this hash: keep it, and nobody can "
                "change the past unnoticed. Its key is `checkpoints`. Who sums receipts skips it."
            ),
        ),
        (
            "run_total",
            RUN_TOTAL_HEADERS,
            tuple(RUN_TOTAL_HEADERS),
            (
                "This run has ended and has cost this much: the sum of its receipts and their "
                "corrections. Of a run, the highest revision counts. Who sums receipts skips it."
            ),
        ),
    ),
    "usage_units": (
        (
            "usage_unit",
            {},
            (),
            "An executor says that it made this call. It has no cost and never becomes a receipt.",
        ),
    ),
    "credits": (
        (
            "credit_event",
            CREDIT_HEADERS,
            tuple(CREDIT_HEADERS),
            (
                "This happened to an account of credits. CloudEvents 1.0, binary mode. Read with "
                "isolation.level=read_committed."
            ),
        ),
    ),
}
"""What is on each topic: names, headers, those that are always there, and a sentence."""


def asyncapi() -> str:
    """Return the document: AsyncAPI 3, JSON, self-contained, without a topic prefix."""
    topics: dict[str, Topic] = dict(load_topics())
    document = {
        "asyncapi": "3.1.0",
        "info": {
            "title": "Billing stream",
            "version": VERSION,
            "description": "What LiteLLM's calls cost, from the callback to the receipt. "
            "An installation may put a prefix before every topic (`BILLING_TOPIC_PREFIX`).",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {which: _channel(which, topic) for which, topic in topics.items()},
        "operations": {
            f"publish_{which}": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{which}"},
                "messages": [
                    {"$ref": f"#/channels/{which}/messages/{name}"} for name, *_ in _MESSAGES[which]
                ],
            }
            for which in topics
        },
        "components": {
            "messages": {
                told[0]: _message(which, told) for which in topics for told in _MESSAGES[which]
            },
            "schemas": {
                name: definition
                for which in topics
                for message, *_ in _MESSAGES[which]
                for name, definition in _schema(message).get("$defs", {}).items()
            },
        },
    }
    return json.dumps(document, indent=2) + "\n"


def _channel(which: str, topic: Topic) -> dict[str, Any]:
    settings = {
        # A list, as the binding has it.
        setting: [topic.config[setting]] if setting == "cleanup.policy" else topic.config[setting]
        for setting in _BOUND
        if setting in topic.config
    }
    return {
        "address": topic.name,
        "title": topic.name,
        "description": f"For: {topic.audience}. Value: {topic.value}.",
        "messages": {
            name: {"$ref": f"#/components/messages/{name}"} for name, *_ in _MESSAGES[which]
        },
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": settings,
                "bindingVersion": _BINDING,
            }
        },
    }


def _message(which: str, told: _Message) -> dict[str, Any]:
    name, named, always, sentence = told
    key = getattr(load_topics(), which).key
    message: dict[str, Any] = {
        "name": name,
        "description": sentence,
        "contentType": "application/octet-stream"
        if which == "dead_letters"
        else "application/json",
        "bindings": {
            "kafka": {"key": {"type": "string", "description": key}, "bindingVersion": _BINDING}
        },
    }
    if named:
        message["headers"] = {"type": "object", "properties": named, "required": list(always)}
    if schema := _schema(name):
        schema.pop("$defs", None)
        message["payload"] = {"schemaFormat": _DRAFT, "schema": schema}
    example = _example(name)
    return message | ({"examples": [example]} if example else {})


def _schema(name: str) -> dict[str, Any]:
    """Return the schema of the values, as one of AsyncAPI; empty where they may be anything."""
    path = ROOT / "schemas" / "json" / f"{name.replace('_', '-')}.schema.json"
    if not path.exists():
        return {}
    # References count from the root of this document.
    text = path.read_text("utf-8").replace("#/$defs/", "#/components/schemas/")
    schema: dict[str, Any] = json.loads(text)
    del schema["$schema"]
    return schema


def _example(name: str) -> dict[str, Any]:
    path = _EXAMPLES / f"{name.replace('_', '-')}.json"
    if not path.exists():
        return {}
    found = {"name": name, "payload": json.loads(path.read_text("utf-8"))}
    about = _EXAMPLES / f"{name.replace('_', '-')}-headers.json"
    return found | ({"headers": json.loads(about.read_text("utf-8"))} if about.exists() else {})
