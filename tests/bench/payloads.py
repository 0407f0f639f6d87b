"""Callbacks of a given size with ids of their own, made from a captured one.

14 kB is the median of what real proxies sent. 4 kB is what is left of it where the proxy redacts
prompts and answers and leaves out its price table and its cost breakdown.
"""

import json
from base64 import b64encode
from collections.abc import Iterator
from hashlib import blake2b
from random import Random
from typing import Any

from tests.inputs.captures import Calls, elements

MEDIAN = 14_550
"""Bytes of the captured callback, as LiteLLM wrote it."""
REDACTED = 4_096
FAT = 2_000_000
SIZES = {"14 kB": MEDIAN, "4 kB": REDACTED}
RUNS = 1_000
DEFERRED_EVERY = 50
"""One call in so many has no cost that can be charged, and is deferred."""
_LEFT_OUT = ("messages", "response", "model_map_information", "error_information", "cost_breakdown")


class Payloads:
    """Callbacks by number: the same number is the same call, byte for byte.

    Args:
        seed: callbacks of different seeds are different calls.
        size: bytes of each; smaller than the captured one leaves out its content, larger pads it.
        runs: so many runs share the calls in turn; 1 is one hot run.
        accounts: so many end users pay for the calls; 0 leaves them to the team of their key.
    """

    def __init__(self, seed: str, size: int = MEDIAN, runs: int = RUNS, accounts: int = 0) -> None:
        self._seed = seed
        self._runs = runs
        self._accounts = accounts
        self._parts = _template(size, "@account@" if accounts else None)

    def names(self, number: int) -> tuple[str, str, str]:
        """Response id, call id and run id of a call; random to an index, as LiteLLM's are."""
        digest = blake2b(f"{self._seed} {number}".encode(), digest_size=32).hexdigest()
        call = f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"
        return f"chatcmpl-{digest[32:61]}", call, f"run-{number % self._runs:04x}"

    def element(self, number: int, cost: str | None = None) -> bytes:
        """The callback of a call; `cost` is the JSON text of another one than it has."""
        response, call, run = self.names(number)
        cost = cost or ("0.0" if is_deferred(number) else "3.6e-05")
        account = f"acct-{number % (self._accounts or 1)}"
        said = {
            "@id@": response,
            "@call@": call,
            "@run@": run,
            "@account@": account,
            '"@cost@"': cost,
        }
        return "".join(said.get(part, part) for part in self._parts).encode()

    def body(self, first: int, count: int) -> bytes:
        """A list of `count` callbacks from number `first` on, as the proxy posts it."""
        return b"[" + b", ".join(self.element(first + each) for each in range(count)) + b"]"

    def bodies(self, total: int, each: int = 100) -> Iterator[bytes]:
        """All callbacks from 0 to `total`, in lists."""
        for first in range(0, total, each):
            yield self.body(first, min(each, total - first))


def is_deferred(number: int) -> bool:
    """Whether this call is one that will be deferred."""
    return number % DEFERRED_EVERY == DEFERRED_EVERY - 1


def receipts_among(count: int) -> int:
    """How many of the calls 0 to `count` become receipts."""
    return count - count // DEFERRED_EVERY


def _template(size: int, end_user: str | None) -> list[str]:
    """The text around the names: text, name, text, name, ..., text."""
    event: dict[str, Any] = json.loads(elements(Calls.BASE)[0])
    run = event["metadata"]["spend_logs_metadata"]["run_id"]
    event = _sized(event, size) | {"response_cost": "@cost@"}
    text = json.dumps(event | {"end_user": end_user} if end_user else event)
    for name, value in (
        ("@id@", event["id"]),
        ("@call@", event["litellm_call_id"]),
        ("@run@", run),
    ):
        text = text.replace(value, f"\0{name}\0")
    for name in ('"@cost@"', "@account@"):
        text = text.replace(name, f"\0{name}\0")
    return text.split("\0")


def _sized(event: dict[str, Any], size: int) -> dict[str, Any]:
    if size < MEDIAN:
        event |= dict.fromkeys(_LEFT_OUT)
        event["metadata"]["requester_metadata"] = None
    if size == MEDIAN:
        return event
    event["model_parameters"] = {"padding": ""}
    lacking = max(size - len(json.dumps(event)), 0)
    # What makes real callbacks large is an image in base64, which no compression makes small.
    noise = Random(size).randbytes(lacking)  # noqa: S311 - the same in each run
    event["model_parameters"] = {"padding": b64encode(noise)[:lacking].decode()}
    return event
