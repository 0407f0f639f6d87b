"""Stands in for the spend log of the demo's LiteLLM proxy: `python -m demo.spend_log`.

A proxy keeps one only with a database of its own, whose engine cannot be had everywhere. This
server answers as the proxy's two routes do. Its rows come from callbacks that are POSTed to it.
"""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from demo.settings import LOOPBACK
from demo.spend_log_table import Answer, SpendLogTable

PROBE: Final = "/livez"
CALLBACKS: Final = "/callbacks"


class SpendLogServer(ThreadingHTTPServer):
    """Serves `table` on a port of 127.0.0.1 to whoever has the key of an administrator.

    Args:
        table: its rows.
        key: the proxy's master key.
        port: 0 chooses a free one.
        handler: reads one request.
    """

    daemon_threads = True

    def __init__(
        self,
        table: SpendLogTable,
        key: str,
        port: int = 0,
        handler: "type[Handler] | None" = None,
    ) -> None:
        super().__init__((LOOPBACK, port), handler or Handler)
        self.table = table
        self.key = key

    @property
    def url(self) -> str:
        """The address of the proxy that this is."""
        return f"http://{LOOPBACK}:{self.server_address[1]}"

    def judged(self, path: str, asked: dict[str, str], authorization: str) -> Answer:
        """Answer a question without a fault."""
        if authorization != f"Bearer {self.key}":
            fault = {"message": f"Authentication Error, Received={self.key[:-4]}...", "code": "401"}
            return Answer(401, {"error": fault})
        return self.table.answer(path, asked)


class Handler(BaseHTTPRequestHandler):
    """Reads questions, and callbacks that become rows."""

    server: SpendLogServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - inherited
        """Say nothing of each request."""

    def do_GET(self) -> None:
        """Answer a question."""
        if self.path == PROBE:
            self.send(Answer(200, {}), b"{}")
            return
        found = self.found()
        self.send(found, json.dumps(found.body).encode())

    def found(self) -> Answer:
        """Return the answer to the question that was read."""
        parts = urlsplit(self.path)
        return self.server.judged(
            parts.path, dict(parse_qsl(parts.query)), self.headers.get("Authorization", "")
        )

    def do_POST(self) -> None:
        """Make rows of callbacks."""
        callbacks = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.table.accept(callbacks if isinstance(callbacks, list) else [callbacks])
        self.send(Answer(200, {}), b"{}")

    def send(self, found: Answer, body: bytes, length: int | None = None) -> None:
        """Send an answer whose body is said to have this length."""
        self.send_response(found.status)
        for name, value in {**found.headers, "Content-Type": "application/json"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    SpendLogServer(
        SpendLogTable(), os.environ["LITELLM_MASTER_KEY"], int(os.environ["SPEND_LOG_PORT"])
    ).serve_forever()
