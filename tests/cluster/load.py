"""Callbacks at a steady rate through the Service, and what became of them."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import psycopg

from tests.inputs.callbacks import payload
from tests.waiting import NET_SECONDS

ACCEPTED: Final = httpx.codes.ACCEPTED
PATH: Final = "/v1/callbacks/litellm"
PAUSE_SECONDS: Final = 0.3
RECEIPTS: Final = """
select count(*), count(distinct litellm_call_id), coalesce(sum(charged_credits), 0)
  from billing.charge_receipts where litellm_call_id = any(%s)
"""
COST: Final = "0.000036"
CREDITS: Final = 360
"""Of `payload`'s cost."""


@dataclass
class Tally:
    """What was sent under one name."""

    name: str
    calls: list[str] = field(default_factory=list)
    first: Counter[str] = field(default_factory=Counter)
    """How the first try of each call was answered."""
    given_up: int = 0

    @property
    def at_once(self) -> int:
        """Calls that were taken at the first try."""
        return self.first[str(int(ACCEPTED))]

    @property
    def others(self) -> str:
        """How the first try ended of those that were not, each with its count."""
        others = {said: count for said, count in self.first.items() if said != str(int(ACCEPTED))}
        return ", ".join(f"{said}: {count}" for said, count in others.items())


class Sender:
    """Sends as LiteLLM does: one client, whose connections stay open; a call repeats until 202.

    Args:
        url: of the gateway's Service, asked anew for each call.
        token: an ingest token.
        rate: calls a second.
    """

    def __init__(self, url: Callable[[], str], token: str, rate: float) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._rate = rate

    @contextmanager
    def sending(self, name: str, calls: int | None = None) -> Iterator[Tally]:
        """Send for as long as the block, or this many calls; the tally is whole after the block."""
        tally, stop = Tally(name), threading.Event()
        with ThreadPoolExecutor(1) as threads:
            sent = threads.submit(self._send, tally, stop, calls)
            try:
                yield tally
            finally:
                if calls is None:
                    stop.set()
                sent.result(NET_SECONDS)

    def _send(self, tally: Tally, stop: threading.Event, calls: int | None) -> None:
        began = time.monotonic()
        with httpx.Client(headers=self._headers, trust_env=False, timeout=30) as client:
            while not stop.is_set() and (calls is None or len(tally.calls) < calls):
                number = len(tally.calls)
                call = f"{tally.name}-{number}"
                tally.calls.append(call)
                spend = {"run_id": f"{tally.name}-run-{number % 7}", "attempt": 1}
                body = payload(
                    id=call, litellm_call_id=call, metadata={"spend_logs_metadata": spend}
                )
                self._post(client, tally, [body])
                stop.wait(max(0.0, began + (number + 1) / self._rate - time.monotonic()))

    def _post(self, client: httpx.Client, tally: Tally, body: list[dict[str, Any]]) -> None:
        deadline = time.monotonic() + NET_SECONDS
        first = True
        while True:
            try:
                answer = client.post(f"{self._url()}{PATH}", json=body)
                said = str(answer.status_code)
            except httpx.TransportError as failed:
                said = type(failed).__name__
            tally.first[said] += first
            first = False
            if said == str(int(ACCEPTED)):
                return
            if time.monotonic() > deadline:
                tally.given_up += 1
                return
            time.sleep(PAUSE_SECONDS)


def receipts(database_url: str, tally: Tally) -> tuple[int, int, int]:
    """Of the calls of a tally: receipts, calls that have one, and credits charged."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute(RECEIPTS, (tally.calls,)).fetchone()
    assert row is not None
    return int(row[0]), int(row[1]), int(row[2])
