"""The stand-in for LiteLLM's spend log, with faults to order."""

import json
import socket
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from demo import spend_log
from demo.spend_log_table import Answer, SpendLogTable

KEY: Final = "sk-redacted-test-key"

_INTERNAL: Final = {"type": "internal_error"}
NO_DATABASE: Final = Answer(
    401, {"error": {**_INTERNAL, "message": "Prisma Client is not initialized", "code": "401"}}
)
NOT_CONNECTED: Final = Answer(
    500,
    {"error": {**_INTERNAL, "message": "/spend/logs ErrorDatabase not connected", "code": "500"}},
)
OVERLOADED: Final = Answer(500, {"error": {"message": "timed out", "code": "500"}})


def limited(seconds: str) -> Answer:
    """An answer of 429 that asks to wait."""
    return Answer(429, {"error": {"message": "slow down"}}, {"Retry-After": seconds})


class Fault(NamedTuple):
    """What happens to one question in place of its answer, or to its answer.

    `cut`: the connection breaks within the body. `half`: half of the JSON, with a length that fits.
    `silent`: nothing is answered until the client gives up.
    """

    answer: Answer | None = None
    cut: bool = False
    half: bool = False
    silent: bool = False


class SpendLogServer(spend_log.SpendLogServer):
    """Serves `table` on a port of its own; `faults` are used up, one a question.

    `asked` are the questions so far; `gone` are routes that this proxy does not have.
    """

    def __init__(self, table: SpendLogTable) -> None:
        super().__init__(table, KEY, handler=_Handler)
        self.faults: deque[Fault] = deque()
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.gone: set[str] = set()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - inherited
        """Say nothing of clients that went away: faults make them."""

    def judged(self, path: str, asked: dict[str, str], authorization: str) -> Answer:
        """Answer a question without a fault."""
        found = super().judged(path, asked, authorization)
        is_gone = path in self.gone and found.status != NO_DATABASE.status
        return Answer(404, {"detail": "Not Found"}) if is_gone else found


class _Handler(spend_log.Handler):
    server: SpendLogServer

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.server.asked.append((parts.path, dict(parse_qsl(parts.query))))
        fault = self.server.faults.popleft() if self.server.faults else Fault()
        if fault.silent:
            self.connection.recv(1)  # until the client closes
            self.close_connection = True
            return
        found = fault.answer or self.found()
        body = json.dumps(found.body).encode()
        half = body[: len(body) // 2]
        if not fault.cut:
            self.send(found, half if fault.half else body)
            return
        self.send(found, half, len(body))
        self.wfile.flush()
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextmanager
def serving(table: SpendLogTable) -> Iterator[SpendLogServer]:
    """Serve a table until the block ends."""
    server = SpendLogServer(table)
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
