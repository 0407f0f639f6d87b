"""The load generator, in a process of its own: `python -m tests.bench.load SPECIFICATION`.

Raw connections on uvloop, because a usual HTTP client takes more of the machine than the server
that is measured. At a given rate it is open: requests are due at their times whether or not earlier
ones were answered, and latency counts from then (no coordinated omission). Times are
CLOCK_MONOTONIC's, which all processes of a machine share.
"""

import asyncio
import json
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, cast

import uvloop

from tests.bench.figures import percentile
from tests.bench.payloads import MEDIAN, RUNS, Payloads
from tests.observers.deployment import CALLBACKS_PATH

_END_OF_HEAD: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"
_TICK_SECONDS: Final = 0.001
_ANSWER_SECONDS: Final = 60.0
HOLDS_PATH: Final = "/v1/holds"
_CALL: Final = {
    "prompt_tokens": 120,
    "max_tokens": 75,
    "n": 1,
    "input_price_usd": "0.00000015",
    "output_price_usd": "0.0000006",
}


@dataclass(frozen=True)
class Load:
    """What to send.

    `pool` so many different bodies are made beforehand and sent in turn; 0 makes each one when it
    is due, all different. `rate` is requests a second; 0 sends the next when the last is answered.
    Answers count after `warm_up` seconds; sending ends `seconds` after that.
    """

    port: int
    token: str
    connections: int
    seconds: float
    size: int = MEDIAN
    per_post: int = 1
    runs: int = RUNS
    pool: int = 0
    rate: float = 0.0
    warm_up: float = 0.0
    seed: str = "load"
    accounts: int = 0
    """Holds of so many accounts are asked for in turn; 0 posts callbacks."""


@dataclass
class Answered:
    """What came of it. Seconds; `due` holds the times at which the requests of the run were due."""

    statuses: dict[str, int] = field(default_factory=dict)
    per_second: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    due: list[float] = field(default_factory=list)


def _callbacks(load: Load) -> Callable[[int], bytes]:
    payloads = Payloads(load.seed, load.size, load.runs)
    return lambda number: payloads.body(number * load.per_post, load.per_post)


def _holds(load: Load) -> Callable[[int], bytes]:
    """Return what asks for a hold of its own, as LiteLLM's plugin does."""

    def body(number: int) -> bytes:
        name = f"{load.seed}-{number}"
        asked = {
            "account": f"acct-{number % load.accounts}",
            "run_id": "run-1",
            "attempt": 0,
            "litellm_call_id": name,
            "nonce": name,
            "model": "gpt-4o-mini",
            "call_type": "acompletion",
            "estimate": _CALL,
        }
        return json.dumps(asked).encode()

    return body


class _Connection(asyncio.Protocol):
    """Sends one request at a time and reads its answer."""

    def __init__(self, generator: "_Generator") -> None:
        self._generator = generator
        self._transport: asyncio.Transport | None = None
        self._read = b""
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one by its methods

    def send(self, request: bytes, due: float) -> None:
        assert self._transport is not None
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, end, body = self._read.partition(_END_OF_HEAD)
        if not end:
            return
        length = next(
            int(line[len(_LENGTH) :])
            for line in head.lower().split(b"\r\n")
            if line.startswith(_LENGTH)
        )
        if len(body) >= length:
            self._read = b""
            self._generator.answered(self, head[9:12].decode(), self._due)

    def connection_lost(self, exc: Exception | None) -> None:
        self._generator.lost(self, exc)


class _Generator:
    def __init__(self, load: Load) -> None:
        self._load = load
        self._body = _holds(load) if load.accounts else _callbacks(load)
        self._path = HOLDS_PATH if load.accounts else CALLBACKS_PATH
        self._pool = [self._request(number) for number in range(load.pool)]
        self._sent = 0
        self._free = deque[_Connection]()
        self._waiting = deque[float]()
        self._statuses = Counter[str]()
        self._latencies = list[float]()
        self._due = list[float]()
        self._begin = self._end = self._last = 0.0
        self._busy = 0
        self._all_answered = asyncio.Event()

    def _request(self, number: int) -> bytes:
        load = self._load
        body = self._body(number)
        head = (
            f"POST {self._path} HTTP/1.1\r\nHost: 127.0.0.1:{load.port}\r\n"
            f"Authorization: Bearer {load.token}\r\nContent-Type: application/json\r\n"
            f"Accept: */*\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def run(self) -> Answered:
        """Send for the given time; what came of it."""
        loop, load = asyncio.get_running_loop(), self._load
        for _ in range(load.connections):
            _, made = await loop.create_connection(
                lambda: _Connection(self), "127.0.0.1", load.port
            )
            self._free.append(made)
        self._begin = time.monotonic() + load.warm_up
        self._end = self._begin + load.seconds
        if load.rate:
            await self._pace()
        else:
            while self._free:
                self._send(time.monotonic())
        try:
            async with asyncio.timeout(max(self._end - time.monotonic(), 0) + _ANSWER_SECONDS):
                await self._all_answered.wait()
        except TimeoutError as late:
            left = f"{self._busy} of {self._sent} requests have no answer"
            raise TimeoutError(f"{left}; answered: {dict(self._statuses)}") from late
        return Answered(
            dict(self._statuses),
            len(self._latencies) / (self._last - self._begin),
            percentile(self._latencies, 0.5),
            percentile(self._latencies, 0.99),
            [] if load.pool else self._due,
        )

    async def _pace(self) -> None:
        """Make requests due at their times; one that finds no free connection waits for it."""
        due, apart = time.monotonic(), 1 / self._load.rate
        while due < self._end:
            while due <= min(time.monotonic(), self._end):
                self._waiting.append(due)
                due += apart
            self._send_waiting()
            await asyncio.sleep(_TICK_SECONDS)
        # At a low rate the last answer is there before the end is, and a sleep may end a little
        # before its time.
        await asyncio.sleep(max(self._end - time.monotonic(), 0))
        self._note_end(max(time.monotonic(), self._end))

    def _send_waiting(self) -> None:
        while self._free and self._waiting:
            self._send(self._waiting.popleft())

    def _send(self, due: float) -> None:
        pool = self._pool
        request = pool[self._sent % len(pool)] if pool else self._request(self._sent)
        self._sent += 1
        self._due.append(due)
        self._busy += 1
        self._free.popleft().send(request, due)

    def answered(self, connection: _Connection, status: str, due: float) -> None:
        """Take an answer, and send the next request where one is due."""
        now = time.monotonic()
        self._busy -= 1
        self._statuses[status] += 1
        if now >= self._begin:
            self._latencies.append(now - due)
            self._last = now
        self._free.append(connection)
        if self._load.rate:
            self._send_waiting()
        elif now < self._end:
            self._send(now)
        self._note_end(now)

    def _note_end(self, now: float) -> None:
        if now >= self._end and not self._busy and not self._waiting:
            self._all_answered.set()

    def lost(self, connection: _Connection, error: Exception | None) -> None:
        """A connection that ends before its time spoils the figures; no request goes by it."""
        if connection in self._free:
            self._free.remove(connection)
        else:
            self._statuses[f"lost: {error}"] += 1


def main() -> None:
    """Read the specification, send, and write what came of it to the file that is named.

    Not to standard output: behind `uvloop.run` a pipe was seen to take its first 64 KiB alone.
    """
    load = Load(**json.loads(sys.argv[1]))

    async def send() -> Answered:
        return await _Generator(load).run()

    Path(sys.argv[2]).write_text(json.dumps(asdict(uvloop.run(send()))), "utf-8")


if __name__ == "__main__":
    main()
