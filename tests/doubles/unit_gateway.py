"""A gateway in memory that takes usage units over HTTP, and answers as a test wants it."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pydantic import TypeAdapter, ValidationError

from schemas.usage import UsageUnit

TOKEN = "token-of-thirty-two-characters-ab"  # noqa: S105 - of a gateway in memory
_UNITS = TypeAdapter(list[UsageUnit])


class UnitGateway:
    """What was posted, and what is answered.

    `answers` are the next ones, `(status, headers)`; a status of 0 closes the connection. When they
    are used up, units that fit their contract are taken with 202, and others refused with 422.
    """

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.posts: list[list[dict[str, Any]]] = []
        self.taken: list[UsageUnit] = []
        self.paths: list[str] = []
        self.tokens: list[str | None] = []
        self.url = ""
        self.lock = threading.Lock()

    def answer(self, *statuses: int, **headers: str) -> None:
        """Answer so next."""
        self.answers += [(status, headers) for status in statuses]

    def take(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """The answer to a body."""
        self.posts.append(json.loads(body))
        if self.answers:
            status, headers = self.answers.pop(0)
            return status, headers, b'{"error": "test", "detail": "as the test wants it"}'
        try:
            units: Sequence[UsageUnit] = _UNITS.validate_json(body)
        except ValidationError as error:
            return 422, {}, json.dumps({"detail": str(error)}).encode()
        self.taken += units
        return 202, {}, json.dumps({"accepted": len(units)}).encode()


@contextmanager
def unit_gateway() -> Iterator[UnitGateway]:
    """A gateway on loopback, until the end of the block."""
    gateway = UnitGateway()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with gateway.lock:
                gateway.paths.append(self.path)
                gateway.tokens.append(self.headers["Authorization"])
                status, headers, said = gateway.take(body)
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        gateway.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield gateway
        finally:
            server.shutdown()
            thread.join()
