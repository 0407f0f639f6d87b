"""A server that answers as LiteLLM's spend log does, with faults to order.

Its rows come from rows that a proxy has shown, or from the callbacks of calls: POSTed to
`/callbacks`, as a real proxy's `generic_api` does, or handed over.
"""

import json
import socket
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from tests.doubles.spend_log_table import Answer, SpendLogTable

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


class SpendLogServer(ThreadingHTTPServer):
    """Serves `table` on a port of its own; `faults` are used up, one a question.

    `asked` are the questions so far; `gone` are routes that this proxy does not have.
    """

    daemon_threads = True

    def __init__(self, table: SpendLogTable) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.table = table
        self.faults: deque[Fault] = deque()
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.gone: set[str] = set()
        self.key = KEY

    @property
    def url(self) -> str:
        """The address of the proxy that this is."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - inherited
        """Say nothing of clients that went away: faults make them."""

    def judged(self, path: str, asked: dict[str, str], authorization: str) -> Answer:
        """Answer a question without a fault."""
        if authorization != f"Bearer {self.key}":
            fault = {"message": f"Authentication Error, Received={self.key[:-4]}...", "code": "401"}
            return Answer(401, {"error": fault})
        if path in self.gone:
            return Answer(404, {"detail": "Not Found"})
        return self.table.answer(path, asked)


class _Handler(BaseHTTPRequestHandler):
    server: SpendLogServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - inherited
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        asked = dict(parse_qsl(parts.query))
        self.server.asked.append((parts.path, asked))
        fault = self.server.faults.popleft() if self.server.faults else Fault()
        if fault.silent:
            self.connection.recv(1)  # until the client closes
            self.close_connection = True
            return
        found = fault.answer or self.server.judged(
            parts.path, asked, self.headers.get("Authorization", "")
        )
        body = json.dumps(found.body).encode()
        half = body[: len(body) // 2]
        self._send(found, half if fault.half else body, len(half) if fault.cut else None)

    def do_POST(self) -> None:
        callbacks = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.table.accept(callbacks if isinstance(callbacks, list) else [callbacks])
        self._send(Answer(200, {}), b"{}", None)

    def _send(self, found: Answer, body: bytes, cut_at: int | None) -> None:
        self.send_response(found.status)
        for name, value in {**found.headers, "Content-Type": "application/json"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut_at])
        if cut_at is not None:
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
