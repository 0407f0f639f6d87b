"""The captured bodies of real LiteLLM proxies, and what each event must become."""

import csv
import json
import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

CAPTURES = Path(__file__).parents[2] / "schemas" / "examples" / "litellm"
FREE_MODELS = "mock-free,real-free"
"""What expected.tsv assumes for BILLING_FREE_MODELS."""

Verdict = Literal["RECEIPT", "DEDUP", "SKIP", "DEFER"]


@dataclass(frozen=True)
class Expected:
    """One line of expected.tsv; `amount` is plain decimal text, empty but for RECEIPT."""

    file: str
    index: int
    response_id: str
    litellm_call_id: str | None
    verdict: Verdict
    amount: str


def expectations() -> list[Expected]:
    """The verdict of every event, in the order of expected.tsv."""
    with (CAPTURES / "expected.tsv").open(newline="") as table:
        return [
            Expected(
                file=row["file"],
                index=int(row["index"]),
                response_id=row["id"],
                litellm_call_id=row["litellm_call_id"] or None,
                verdict=_verdict(row["verdict"]),
                amount=row["amount_usd"],
            )
            for row in csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE)
        ]


def files() -> list[str]:
    """The names of the captured bodies, in the order of expected.tsv."""
    return list(dict.fromkeys(expected.file for expected in expectations()))


def body(file: str) -> bytes:
    """A captured body as it was received."""
    return (CAPTURES / file).read_bytes()


def elements(file: str) -> list[bytes]:
    """The bytes of each event in a captured body."""
    if file.endswith(".ndjson"):
        return [line for line in body(file).splitlines() if line]
    return [bytes(raw) for raw in msgspec.json.decode(body(file), type=list[msgspec.Raw])]


def all_elements() -> list[bytes]:
    """Every event of every captured body."""
    return [element for file in files() for element in elements(file)]


def array(parts: Sequence[bytes]) -> bytes:
    """A JSON array of elements that are JSON already."""
    return b"[" + b",".join(parts) + b"]"


def batches(parts: Sequence[bytes], rng: random.Random, largest: int = 40) -> list[bytes]:
    """Cut `parts` into arrays of random sizes from 1 to `largest`, in order."""
    cut: list[bytes] = []
    at = 0
    while at < len(parts):
        size = rng.randint(1, largest)
        cut.append(array(parts[at : at + size]))
        at += size
    return cut


@dataclass(frozen=True)
class Call:
    """A made-up call: its element and the names under which its row is found."""

    element: bytes
    response_id: str
    litellm_call_id: str


class Calls:
    """Makes up calls that no deployment has seen: a captured event with ids of its own.

    Args:
        rng: source of the ids; a seeded one makes the same calls again.
    """

    BASE = "real-stream-usageopt.json"

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._base = elements(self.BASE)[0]

    def name(self, prefix: str) -> str:
        """A name that was not used before."""
        return f"{prefix}-{uuid.UUID(int=self._rng.getrandbits(128), version=4)}"

    def make(self, **fields: object) -> Call:
        """A paid streamed call (0.000036 USD) of its own, with top-level fields replaced."""
        return self.altered(lambda _event: None, **fields)

    def altered(self, change: Callable[[dict[str, Any]], None], **fields: object) -> Call:
        """The same, and `change` may alter the whole event before it becomes bytes."""
        event: dict[str, Any] = json.loads(self._base)
        event["id"] = self.name("chatcmpl")
        event["litellm_call_id"] = self.name("call")
        event["metadata"]["spend_logs_metadata"] = {"run_id": self.name("run")}
        event.update(fields)
        change(event)
        element = json.dumps(event).encode()
        return Call(element, str(event.get("id")), str(event.get("litellm_call_id")))

    def with_cost(self, literal: str, **fields: object) -> Call:
        """A call whose `response_cost` is this JSON text, digit for digit, valid or not."""
        call = self.make(**{**fields, "response_cost": "@cost@"})
        element = call.element.replace(b'"@cost@"', literal.encode())
        return Call(element, call.response_id, call.litellm_call_id)

    def in_run(self, run_id: object, **fields: object) -> Call:
        """A call of a run."""

        def change(event: dict[str, Any]) -> None:
            event["metadata"]["spend_logs_metadata"] = {"run_id": run_id}

        return self.altered(change, **fields)


def _verdict(word: str) -> Verdict:
    verdicts: dict[str, Verdict] = {
        "RECEIPT": "RECEIPT",
        "DEDUP": "DEDUP",
        "SKIP": "SKIP",
        "DEFER": "DEFER",
    }
    return verdicts[word]
