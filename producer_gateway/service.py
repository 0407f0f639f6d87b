"""The composition root: what the process is made of, how it starts and how it stops."""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Final

import structlog
import uvicorn
from confluent_kafka import KafkaException
from starlette.types import ASGIApp, Receive, Scope, Send

from producer_gateway import VERSION
from producer_gateway.app import Gateway
from producer_gateway.connection import Connection
from producer_gateway.journal import SpoolError
from producer_gateway.metrics import Metrics
from producer_gateway.probes import Readiness, probes
from producer_gateway.routes import application
from producer_gateway.settings import Settings
from producer_gateway.storage import Storage
from schemas.topics import Topics, load_topics

_LOG: Final = structlog.get_logger(__name__)
_KEEP_ALIVE_S: Final = 75
"""Longer than LiteLLM's flush interval (5 s): closing an idle connection at the moment at which
the sender uses it again would lose the body."""

_FRONT_SHARE: Final = 0.8
"""Of the time to stop in, what requests in hand get; the rest is for flushing what they left."""


_GARBAGE_AFTER: Final = 50_000
"""Objects made and not freed until a collection looks at the young ones. With the interpreter's 700
it looks at requests in hand again and again, which took an eighth of all time: none is garbage."""


class FatalError(Exception):
    """The process can do nothing useful any more; the text says why."""


class _Server(uvicorn.Server):
    """A server that leaves the signals to the process, which has two servers to stop in order."""

    def __init__(self, name: str, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.name = name

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for server in self.servers:
            host, port = server.sockets[0].getsockname()[:2]
            _LOG.info("listening", name=self.name, host=host, port=port)


def _without_gone_clients(app: ASGIApp) -> ASGIApp:
    """Return `app` that takes an answer to somebody who has gone for what it is: no failure.

    uvloop raises it as an error of ours, and uvicorn would log a stack for each.
    """

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except RuntimeError as error:
            if "handler is closed" not in str(error):
                raise
            _LOG.warning("client_gone")

    return answering


def _server(name: str, app: ASGIApp, host: str, port: int, shutdown_timeout_s: float) -> _Server:
    return _Server(
        name,
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
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, int(shutdown_timeout_s)),
        ),
    )


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in hand.

    Order of stopping: not ready, no new connections, requests in hand answered (at half time from
    the spool), producer flushed, spool closed, probes last. Raises `FatalError` where a port is
    taken, the spool cannot be opened or is not drained any more, or Kafka's settings are wrong.
    """
    stop, fatal = asyncio.Event(), list[str]()

    def stop_because(reason: str) -> None:
        fatal.append(reason)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    topics, metrics = load_topics(settings.topic_prefix), Metrics()
    storage = _storage(settings, topics, metrics, stop_because)
    readiness = Readiness(storage, metrics)
    gateway = Gateway(settings, topics, metrics, storage.store)
    timeout_s = settings.shutdown_timeout_s
    app, behind = application(gateway), probes(readiness, metrics, gateway)
    front = _server("callbacks", app, settings.host, settings.port, _FRONT_SHARE * timeout_s)
    back = _server("probes", behind, settings.metrics_host, settings.metrics_port, 1)
    watching = [asyncio.create_task(w) for w in (readiness.watch(), gateway.refusals.watch())]
    serving = asyncio.create_task(_run(front, stop_because))
    probing = asyncio.create_task(_run(back, stop_because))
    gc.freeze()
    gc.set_threshold(_GARBAGE_AFTER)
    _LOG.info("starting", version=VERSION, kafka=settings.kafka_bootstrap_servers)
    await stop.wait()

    readiness.draining = True
    front.should_exit = True
    ending = asyncio.get_running_loop().time() + timeout_s
    if (await asyncio.wait({serving}, timeout=timeout_s / 2))[1]:
        storage.hurry()
    await serving
    await storage.close(max(0.0, ending - asyncio.get_running_loop().time()))
    for task in watching:
        task.cancel()
    back.should_exit = True
    await probing
    _LOG.info("stopped")
    if fatal:
        raise FatalError(fatal[0])


def _storage(
    settings: Settings, topics: Topics, metrics: Metrics, stop_because: Callable[[str], None]
) -> Storage:
    try:
        return Storage(settings, topics, metrics, stop_because)
    except SpoolError as error:
        raise FatalError(str(error)) from error
    except KafkaException as error:
        raise FatalError(f"the KAFKA_* variables do not fit: {error.args[0].str()}") from error


async def _run(server: _Server, stop_because: Callable[[str], None]) -> None:
    try:
        await server.serve()
    except SystemExit:
        config = server.config
        stop_because(f"cannot listen on {config.host}:{config.port}; is the port taken?")
