"""A spend log that answers quickly: what is measured is the reconciler, and not what it asks.

`python -m tests.bench.spend_log PORT ROWS SECONDS`: rows like those of a real proxy, of calls that
began one after another within the last SECONDS; prints a line when it serves.
"""

import json
import sys
from bisect import bisect_left, bisect_right
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from tests.inputs import spend_log_captures as captures

VERSION: Final = "1.110.2"
_TIMES: Final = ("startTime", "endTime", "completionStartTime")


def template() -> dict[str, Any]:
    """A row of a paid call, as a real proxy has shown it."""
    return next(
        row
        for row in captures.shown(VERSION)
        if row["spend"] and row["call_type"] == "acompletion" and row["cache_hit"] != "True"
    )


def rows(count: int, seconds: float) -> tuple[list[float], list[bytes]]:
    """When each call began, and its row as JSON: the oldest first, none within the last minute."""
    model, now = template(), datetime.now(UTC)
    began, texts = list[float](), list[bytes]()
    for number in range(count):
        at = now - timedelta(seconds=60 + (seconds - 60) * (1 - number / count))
        moments = dict.fromkeys(_TIMES, at.isoformat(timespec="milliseconds"))
        row = {
            **model,
            **moments,
            "request_id": f"chatcmpl-{number:08}",
            "litellm_call_id": f"call-{number:08}",
            "spend": 0.00033 + number * 1e-9,
        }
        began.append(at.timestamp())
        texts.append(json.dumps(row).encode())
    return began, texts


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    began: list[float]
    texts: list[bytes]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - inherited
        pass

    def do_GET(self) -> None:
        asked = dict(parse_qsl(urlsplit(self.path).query))
        page, size = int(asked["page"]), int(asked["page_size"])
        first = bisect_left(self.began, _seconds(asked["start_date"]))
        last = bisect_right(self.began, _seconds(asked["end_date"]))
        shown = self.texts[first + (page - 1) * size : min(last, first + page * size)]
        body = b'{"data":[%b],"total":10000,"page":%d}' % (b",".join(shown), page)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def main() -> None:
    """Serve until the process is ended."""
    port, count, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    _Handler.began, _Handler.texts = rows(count, seconds)
    size = sum(map(len, _Handler.texts)) // max(count, 1)
    server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    server.daemon_threads = True
    print(f"serving {count} rows of {size} bytes", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
