"""Probes and metrics over plain HTTP, on a port of their own."""

import json
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

Check = Callable[[], dict[str, str]]
"""Returns what is wrong, by name; nothing when all is well."""


class Probes(ThreadingHTTPServer):
    """Serves `/livez`, `/readyz` and `/metrics` from threads of its own.

    With `exemplars`, who asks for OpenMetrics gets that, which alone can tell them.
    """

    daemon_threads = True

    def __init__(
        self, host: str, port: int, live: Check, ready: Check, *, exemplars: bool = False
    ) -> None:
        self.checks = {"/livez": live, "/readyz": ready}
        self.exemplars = exemplars
        super().__init__((host, port), _Handler)
        threading.Thread(target=self.serve_forever, name="probes", daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the base class's
        """Say nothing of a client that hung up; all else is a fault of ours."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


_openmetrics: Callable[[CollectorRegistry], bytes] = openmetrics.generate_latest


class _Handler(BaseHTTPRequestHandler):
    server: Probes
    timeout = 10
    """Seconds in which a client has to go on: each has a thread and a file."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            return self._answer(200, *self._metrics())
        check = self.server.checks.get(path)
        if check is None:
            return self._answer(404, "text/plain", b"try /livez, /readyz or /metrics\n")
        wrong = check()
        body: dict[str, Any] = {"status": "failing" if wrong else "ok", "missing": wrong}
        return self._answer(503 if wrong else 200, "application/json", json.dumps(body).encode())

    def _metrics(self) -> tuple[str, bytes]:
        asked = self.headers.get("accept", "")
        if self.server.exemplars and "application/openmetrics-text" in asked:
            return openmetrics.CONTENT_TYPE_LATEST, _openmetrics(REGISTRY)
        return CONTENT_TYPE_LATEST, generate_latest()

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Stay silent: a probe a second is no news."""
