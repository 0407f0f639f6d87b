"""Made-up callbacks, records and policies for tests of the decision and the ledger."""

import itertools
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from charging.account import Accounts
from charging.decision import Policy, decide
from charging.outcomes import Charge, Decided, Decision
from charging.signature import NO_SIGNATURES, SignatureRules
from schemas import reader
from schemas.callback import Callback
from schemas.headers import SOURCE, Headers
from schemas.record import Record

CALLBACKS = "billing.callbacks.v1"
USAGE_UNITS = "billing.usage-units.v1"
RECEIVED_MS = 1_795_312_950_000
ENDED = 1_795_312_942.75
NUMBER = "@number@"
"""Stands in a payload for a number whose JSON text `element` is told."""

LENIENTLY = b', "unneeded": Infinity}'
"""At the end of an element: strict JSON refuses it, and nothing that billing reads changes."""

_offsets = itertools.count(1_000)


def payload(**fields: object) -> dict[str, Any]:
    """A plain paid call in a run; `fields` replace top-level ones, `...` takes one away."""
    whole: dict[str, Any] = {
        "id": "chatcmpl-1",
        "litellm_call_id": "call-1",
        "call_type": "acompletion",
        "stream": True,
        "status": "success",
        "cache_hit": None,
        "response_cost": 0.000036,
        "saved_cache_cost": 0.0,
        "custom_llm_provider": "openai",
        "model": "openai/gpt-4o-mini",
        "model_group": "gpt-4o-mini",
        "prompt_tokens": 120,
        "completion_tokens": 30,
        "startTime": ENDED - 1.5,
        "endTime": ENDED,
        "completionStartTime": ENDED - 1.25,
        "end_user": "acct-1",
        "request_tags": ["blue"],
        "error_str": None,
        "metadata": {"spend_logs_metadata": {"run_id": "run-1", "attempt": 2}},
        "messages": [{"role": "user", "content": "hello"}],
    }
    whole.update(fields)
    return {name: value for name, value in whole.items() if value is not ...}


def element(number: str | None = None, /, **fields: object) -> bytes:
    """The bytes of `payload(**fields)`; the text `number` stands where a field is `NUMBER`."""
    text = json.dumps(payload(**fields))
    return (text if number is None else text.replace(f'"{NUMBER}"', number)).encode()


def costing(cost: str, **fields: object) -> bytes:
    """An element whose `response_cost` is this JSON text, digit for digit."""
    return element(cost, **{**fields, "response_cost": NUMBER})


def leniently(value: bytes) -> bytes:
    """The same element, so that strict JSON refuses it."""
    return value[:-1] + LENIENTLY


def in_run(number: int, **fields: object) -> bytes:
    """A paid call of its own in one of seven runs."""
    spend = {"run_id": f"run-{number % 7}", "attempt": 0}
    name = f"call-{number}"
    return element(id=name, litellm_call_id=name, metadata={"spend_logs_metadata": spend}, **fields)


def read_callback(value: bytes) -> tuple[Callback, bool]:
    """The callback of an element, and whether strict JSON refused it."""
    reading = reader.read_callback(value)
    return reading.callback, reading.lenient


def contents(part: object) -> object:
    """Every value of a callback, whichever way it was read."""
    if isinstance(part, msgspec.Struct):
        return {name: contents(getattr(part, name)) for name in part.__struct_fields__}
    return part


def record(
    value: bytes,
    *,
    offset: int | None = None,
    partition: int = 0,
    source: str | None = None,
    topic: str = CALLBACKS,
    headers: Headers | None = None,
    received_ms: int = RECEIVED_MS,
) -> Record:
    """A record that holds `value`, at an offset that no other has unless one is given."""
    added: Headers = [(SOURCE, source.encode())] if source else []
    at = next(_offsets) if offset is None else offset
    return Record(topic, partition, at, received_ms, b"run", value, [*(headers or []), *added])


def policy(
    *,
    markup: str = "1",
    free: tuple[str, ...] = ("free-*",),
    not_billable: frozenset[str] = frozenset({"acreate_file", "aretrieve_batch", "aget_responses"}),
    account_from: tuple[str, ...] = (
        "end_user",
        "x-litellm-end-user-id",
        "user_api_key_team_id",
        "user_api_key_user_id",
    ),
    signatures: SignatureRules = NO_SIGNATURES,
) -> Policy:
    """What an operator decided, with the defaults of the settings where nothing is said."""
    return Policy(
        markup=Decimal(markup),
        free_models=free,
        not_billable_call_types=not_billable,
        accounts=Accounts(
            account_from, internal="internal", unattributed="unattributed", signatures=signatures
        ),
        usage_units_topic=USAGE_UNITS,
    )


def verdict(value: bytes, rules: Policy | None = None) -> Decision:
    """The decision about an element, by the default policy unless another is given."""
    return decide(record(value), rules or policy())


def charged(value: bytes, rules: Policy | None = None) -> Charge:
    """The charge that an element must become."""
    decision = verdict(value, rules)
    assert isinstance(decision, Charge), decision
    return decision


def receipt(**fields: object) -> dict[str, Any]:
    """The receipt of a payload, as plain values."""
    return msgspec.structs.asdict(charged(element(**fields)).receipt)


def decided(
    value: bytes,
    rules: Policy | None = None,
    *,
    offset: int | None = None,
    partition: int = 0,
    source: str | None = None,
    received_ms: int = RECEIVED_MS,
) -> Decided:
    """A record that holds `value`, with the decision about it."""
    taken = record(
        value, offset=offset, partition=partition, source=source, received_ms=received_ms
    )
    return Decided(taken, decide(taken, rules or policy()))


def usage_unit(**fields: object) -> Mapping[str, object]:
    """A usage unit as an executor posts it."""
    return {
        "unit_id": "0190c0de-0000-7000-8000-000000000001",
        "run_id": "run-1",
        "executor": "tests",
        "finished_at": "2026-11-22T10:00:00Z",
        **fields,
    }
