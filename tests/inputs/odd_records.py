"""Records as any producer might write them, made up from a seed: few of them make sense."""

import json
import random
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from tests.clients.raw_producer import RawHeaders, RawRecord
from tests.inputs.callbacks import RECEIVED_MS, payload, usage_unit

_Maker: TypeAlias = Callable[[random.Random, int], bytes | None]

NAMES: Final = [
    *(b"source", b"received-at", b"call-key", b"settled-by", b"settled-note", b"lenient-json"),
    *(b"reason", b"original-topic", b"part-index", b"replayed-from", b"traceparent", b""),
    *(b"\xff\xfebad", b"a\xc3", b"\xed\xa0\x80", b"nul\x00name", "näme".encode()),
]
VALUES: Final = [
    *(
        None,
        b"",
        b"\x00",
        b"\xff\xfe",
        b"litellm",
        b"litellm/eu",
        b"1",
        b"2026-11-22T10:00:00.250Z",
    ),
    *(b"2999-01-01T00:00:00Z", b"0001-01-01T00:00:00+23:59", b"h" * 5_000),
]
TIMES: Final = [
    *(RECEIVED_MS, RECEIVED_MS - 1, 0, 1, -1, -(2**62), 2**62, 2**63 - 1, 253_402_300_800_000),
]
ODD: Final[list[Any]] = [
    *(None, "", " ", "\x00", "text", "run/3", "{}", '{"run_id": 7}', "a" * 3_000, "\ud800"),
    *(True, False, 0, 1, -1, 0.0, 1.5, -0.0123, 10**20, 1e300, float("nan"), float("inf"), 4_102),
    *([], {}, ["x", 5, None], {"run_id": 990017, "attempt": "1"}, {"a": {"b": [1]}}, [[]]),
]
CALL_TYPES: Final = ["acompletion", "avideo_status", "aretrieve_batch", "acreate_file", "anew", ""]


def odd_record(rng: random.Random, number: int) -> RawRecord:
    """Make up a record; `number` is part of the ids that it has, if it has any."""
    values: list[_Maker] = [
        *(_nothing, _noise, _word, _changed, _changed, _changed, _damaged, _unit),
    ]
    return RawRecord(
        key=rng.choice([None, b"", b"k", rng.randbytes(5), b"run-%d" % (number % 7), b"k" * 2_000]),
        value=rng.choice(values)(rng, number),
        headers=_headers(rng),
        timestamp_ms=rng.choice(TIMES),
    )


def _headers(rng: random.Random) -> RawHeaders:
    if rng.random() < 1 / 50:
        return [(b"repeated", b"%d" % count) for count in range(500)]
    count = rng.choice([0, 0, 1, 2, 5])
    return [(rng.choice([*NAMES, rng.randbytes(4)]), rng.choice(VALUES)) for _ in range(count)]


def _nothing(rng: random.Random, _: int) -> bytes | None:
    return rng.choice([None, b""])


def _noise(rng: random.Random, _: int) -> bytes:
    return rng.randbytes(rng.randint(1, 60))


def _word(rng: random.Random, _: int) -> bytes:
    return rng.choice([b"null", b"[]", b"{}", b"17", b'"text"', b"[" * 5_000, b'{"id": "', b"NaN"])


def _changed(rng: random.Random, number: int) -> bytes:
    """A callback with some of its fields replaced by anything."""
    call = payload(
        id=f"odd-{number}",
        litellm_call_id=f"odd-{number}",
        call_type=rng.choice(CALL_TYPES),
        metadata={"user_api_key_team_id": "team", "spend_logs_metadata": {"run_id": "odd"}},
    )
    for name in rng.sample([*call, "total_tokens", "cost_breakdown", "hidden_params"], 3):
        call[name] = rng.choice(ODD)
    for name in rng.sample(["run_id", "attempt", "sub_agent_id"], rng.randint(0, 2)):
        if isinstance(call["metadata"], dict):
            spend = call["metadata"].get("spend_logs_metadata")
            if isinstance(spend, dict):
                call["metadata"]["spend_logs_metadata"] = {**spend, name: rng.choice(ODD)}
    return json.dumps(call).encode()


def _damaged(rng: random.Random, number: int) -> bytes:
    """A callback with some of its bytes replaced."""
    value = bytearray(_changed(rng, number))
    for _ in range(rng.randint(1, 3)):
        value[rng.randrange(len(value))] = rng.randrange(256)
    return bytes(value)


def _unit(rng: random.Random, number: int) -> bytes:
    """A usage unit, sometimes a broken one."""
    unit = dict(usage_unit(unit_id=f"0190c0de-0000-7000-8000-{number:012}"))
    if rng.random() < 1 / 2:
        unit[rng.choice(sorted(unit))] = rng.choice(ODD)
    return json.dumps(unit).encode()
