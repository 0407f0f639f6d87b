"""A server on one of the two ports: uvicorn's, behind a listener and a watch of our own."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Final

import structlog
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from producer_gateway.connection import Connection
from producer_gateway.connections import Connections
from producer_gateway.listener import Listener, Reserve, bound
from producer_gateway.metrics import Metrics
from runtime.logs import OnceAMinute

_LOG: Final = structlog.get_logger(__name__)


class Server(uvicorn.Server):
    """Serves `app` until `should_exit`, with the connections that `connections` lets in.

    The signals are left to the process, which has two servers to stop in order. `serve` raises
    `OSError` where the address cannot be listened on.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        port: int,
        connections: Connections,
        metrics: Metrics,
        shutdown_timeout_s: float,
        reserve: Reserve,
        spends: bool,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                _without_gone_clients(app),
                host=host,
                port=port,
                loop="uvloop",
                http=Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=max(1, int(shutdown_timeout_s)),
            )
        )
        self._connections = connections
        self._metrics = metrics
        self._reserve = reserve
        self._spends = spends
        connections.of(self.server_state)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where."""
        await self.lifespan.startup()
        config = self.config
        listeners = [
            Listener(
                listening,
                self._connections,
                self._protocol,
                self._metrics,
                self._reserve,
                spends=self._spends,
            )
            for listening in sockets or await bound(config.host, config.port)
        ]
        # Nobody asks them for more than a listener has.
        self.servers = listeners  # type: ignore[assignment]
        for listener in listeners:
            host, port = listener.sockets[0].getsockname()[:2]
            _LOG.info("listening", name=self._connections.port, host=host, port=port)
        self.started = True

    def _protocol(self) -> asyncio.Protocol:
        return Connection(self.config, self.server_state, self.lifespan.state)


def _without_gone_clients(app: ASGIApp) -> ASGIApp:
    """Return `app` that takes an answer to somebody who has gone for what it is: no failure.

    uvloop raises it as an error of ours, and uvicorn would log a stack for each.
    """
    say = OnceAMinute()

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except RuntimeError as error:
            if "handler is closed" not in str(error):
                raise
            if (unsaid := say.now()) is not None:
                _LOG.warning("client_gone", count=unsaid)

    return answering
