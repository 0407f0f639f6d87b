"""Callbacks that a proxy never sent, made of those that it did, the same ones of each seed."""

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from billing_stream_client import signed
from schemas import headers as names
from schemas.headers import Headers
from schemas.record import Record
from tests.inputs import background, captures
from tests.inputs.callbacks import CALLBACKS, RECEIVED_MS, USAGE_UNITS, element, usage_unit
from tests.inputs.odd_records import CALL_TYPES, ODD

MADE: Final = Path(__file__).parents[2] / "schemas" / "examples" / "callbacks"
TEXTS: Final = [
    *("success", "failure", "free-1", "default_user_id", "litellm-internal-health-check"),
    *(
        "2026-11:" + "0" * 64,
        "refused",
        "0190c0de-0000-7000-8000-000000000001",
        "naïve",
        "tab\there",
    ),
    *("line\u2028break", "emoji 😀", "\u0301", "a" * 600, "0" * 64, "sk-1234", "1e-7", "NaN"),
]
NUMBERS: Final = [
    *("0.000036", "1e-7", "1E+3", "-0.0", "0.1e-70", "1e400", "999999999.999999999999", "Infinity"),
    *("1795312942.75", "-62135596801", "9223372036854775808", "1" * 40, "0.30000000000000004"),
]
"""As JSON texts: what Python's encoder would not write."""
FIELDS: Final = [
    *("run_id", "runId", "attempt", "graph_id", "sub_agent_id", "parent_sub_agent_id"),
    *("tool_call_id", "billing_hold", "signature", "billing_signature", "spend_logs_metadata"),
    *("user_api_key_hash", "user_api_key_team_id", "requester_custom_headers", "usage_object"),
    *("is_silent_experiment", "cost_breakdown", "hidden_params", "saved_cache_cost", "source"),
    *("end_user", "call_type", "model_group", "status", "error_str", "response", "metadata"),
]
KEY: Final = "2026-11=" + "n" * 40
"""Of a signature."""
_NUMBER: Final = "@a number@"


def originals() -> list[bytes]:
    """The captured callbacks, the examples, and one of each kind that the tests make up."""
    examples = [path.read_bytes() for path in sorted(MADE.glob("*.json"))]
    made = [background.create(), background.read(), background.finished(), background.ended()]
    made += [element(call_type=one) for one in CALL_TYPES]
    said = {"run_id": "run-1", "attempt": 2, "sub_agent_id": "poet"}
    proven = [signed(said, KEY, account) for account in (None, "acct-1")]
    misspelt = {"runId": "run-1", "Attempt": "2", "sub-agent-id": "poet"}
    made += [element(metadata={"spend_logs_metadata": one}) for one in [*proven, misspelt] * 5]
    made += [element(), json.dumps(usage_unit()).encode()]
    return [*captures.all_elements(), *examples, *made]


def mutations(seed: int, count: int) -> Iterator[Record]:
    """Make up `count` records; the first of them are the originals as they are."""
    rng = random.Random(seed)  # noqa: S311 - a seed makes records, no secret
    known = originals()
    for number in range(count):
        value = known[number] if number < len(known) else _changed(rng, rng.choice(known))
        topic = USAGE_UNITS if rng.random() < 1 / 50 else CALLBACKS
        received = rng.choice([RECEIVED_MS] * 8 + [0, -1, 2**62])
        yield Record(topic, number % 12, number, received, b"run", value, _headers(rng))


def _headers(rng: random.Random) -> Headers:
    some: Headers = [
        (names.SOURCE, rng.choice([b"litellm", b"litellm/eu", b"", b"\xff", b"x" * 400])),
        (names.RECEIVED_AT, rng.choice([b"2026-11-22T10:00:00.250Z", b"2026-11-22", b"now", b""])),
        (names.SETTLED_BY, rng.choice([b"ann", b"", b"\x00"])),
        (names.SETTLED_NOTE, b"as agreed"),
        (names.SETTLED_FROM, rng.choice([b"cost_breakdown", b"elsewhere"])),
        (names.SETTLED_CALL_KEY, rng.choice([b"call-1|chatcmpl-1", b"", b"other"])),
    ]
    return rng.sample(some[:2], rng.randint(0, 2)) + (
        rng.sample(some[2:], rng.randint(1, 4)) if rng.random() < 1 / 10 else []
    )


def _changed(rng: random.Random, value: bytes) -> bytes:
    if rng.random() < 1 / 3:
        return _damaged(rng, value)
    try:
        call = json.loads(value)
    except ValueError:
        return _damaged(rng, value)
    for _ in range(rng.randint(1, 4)):
        _change(rng, call)
    text = json.dumps(call, ensure_ascii=rng.random() < 1 / 2)
    while f'"{_NUMBER}"' in text:
        text = text.replace(f'"{_NUMBER}"', rng.choice(NUMBERS), 1)
    changed = text.encode("utf-8", "surrogatepass")
    return _damaged(rng, changed) if rng.random() < 1 / 10 else changed


def _damaged(rng: random.Random, value: bytes) -> bytes:
    """Put other bytes into it, take some out, or say some twice."""
    for _ in range(rng.randint(1, 3)):
        at, length = rng.randrange(len(value) + 1), rng.randint(0, 4)
        piece = rng.choice([rng.randbytes(length), value[at : at + 30], b'"', b"\\", b"\\ud800"])
        value = value[:at] + piece + value[at + length :]
    return value


def _change(rng: random.Random, call: object) -> None:
    """Replace, add or take away one thing somewhere in it."""
    place = call
    while True:
        inner = [one for one in _within(place) if isinstance(one, dict | list) and one]
        if not inner or rng.random() < 1 / 3:
            break
        place = rng.choice(inner)
    match place:
        case dict():
            name = rng.choice([*place, rng.choice(FIELDS)])
            if rng.random() < 1 / 6:
                place.pop(name, None)
            else:
                place[name] = _anything(rng)
        case list() if place:
            place[rng.randrange(len(place))] = _anything(rng)


def _within(place: object) -> list[Any]:
    match place:
        case dict():
            return list(place.values())
        case list():
            return place
    return []


def _anything(rng: random.Random) -> object:
    odd = copy.deepcopy(rng.choice(ODD))
    return rng.choice([odd, rng.choice(TEXTS), rng.choice(CALL_TYPES), _NUMBER])
