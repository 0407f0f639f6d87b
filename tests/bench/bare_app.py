"""The limit of an HTTP server: an app that reads the body and answers, on the gateway's server.

`python -m tests.bench.bare_app PORT`
"""

import sys
from typing import Final

import uvicorn
from starlette.types import Receive, Scope, Send

_ANSWER: Final = b'{"accepted":1,"parked":0,"spooled":0}'
_HEADERS: Final = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(_ANSWER)).encode()),
]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the whole body, keep nothing, answer as the gateway does."""
    assert scope["type"] == "http"
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    await send({"type": "http.response.start", "status": 202, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _ANSWER})


def main() -> None:
    """Serve on 127.0.0.1 until SIGTERM, with the settings of the gateway's server."""
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,
    )


if __name__ == "__main__":
    main()
