"""A threaded HTTP server that takes JSON, remembers it, and answers by a function."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, NamedTuple


class Asked(NamedTuple):
    """One request: its path, its headers by lower-case names, and the JSON in it."""

    path: str
    headers: dict[str, str]
    body: Any


class Said(NamedTuple):
    """One answer; a text is sent as it is, as server-sent events."""

    status: int
    body: Any


class JsonServer(ThreadingHTTPServer):
    """Listens on a port of its own; `asked` are the requests so far."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._lock = Lock()
        self._asked: list[Asked] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def asked(self) -> list[Asked]:
        """The requests so far, oldest first."""
        with self._lock:
            return list(self._asked)

    def took(self, asked: Asked) -> Said:
        """Remember a request and answer it."""
        with self._lock:
            self._asked.append(asked)
        return self.answer(asked)

    def answer(self, asked: Asked) -> Said:
        """Answer a request."""
        del asked
        return Said(200, {})

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - inherited
        """Say nothing of clients that went away: those that wait for a time do."""


@contextmanager
def listening(server: JsonServer) -> Iterator[None]:
    """Let a server answer within the block."""
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: JsonServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.path, headers, json.loads(content) if content else None)
        said = self.server.took(asked)
        is_stream = isinstance(said.body, str)
        sent = (said.body if is_stream else json.dumps(said.body)).encode()
        self.send_response(said.status)
        kind = "text/event-stream" if is_stream else "application/json"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
