"""The composition root: what the process is made of, how it starts and how it stops."""

import asyncio
import gc
import signal
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from confluent_kafka import KafkaException

from producer_gateway.app import Gateway
from producer_gateway.connections import Connections, Patience
from producer_gateway.heap import FreedMemory
from producer_gateway.journal import SpoolError
from producer_gateway.listener import Reserve, raise_descriptor_limit, room_for_callers
from producer_gateway.metrics import Metrics
from producer_gateway.probes import Readiness, probes
from producer_gateway.routes import application
from producer_gateway.server import Server
from producer_gateway.settings import Settings, load
from producer_gateway.storage import Storage
from producer_gateway.tracing import TracedEndpoints, TracedStore
from runtime import VERSION
from runtime.environment import ConfigurationError
from runtime.tracing import Traces, traces
from schemas.topics import Topics, load_topics

_LOG: Final = structlog.get_logger(__name__)
_PROBES: Final = 32
"""Connections that may be open on the port of the probes."""
_RESERVED: Final = 8
"""Descriptors that are kept for it."""
_FRONT_SHARE: Final = 0.8
"""Of the time to stop in, what requests in hand get; the rest is for flushing what they left."""


_GARBAGE_AFTER: Final = 50_000
"""Objects made and not freed until a collection looks at the young ones. With the interpreter's 700
it looks at requests in hand again and again, which took an eighth of all time: none is garbage."""


class FatalError(Exception):
    """The process can do nothing useful any more; the text says why."""


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in hand. SIGHUP: read the tokens again.

    Order of stopping: not ready, no new connections, requests in hand answered (at half time from
    the spool), producer flushed, spool closed, probes last. Raises `FatalError` where a port is
    taken, the spool cannot be opened or is not drained any more, or Kafka's settings are wrong.
    """
    stop, fatal = asyncio.Event(), list[str]()

    def stop_because(reason: str) -> None:
        fatal.append(reason)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    topics, metrics, told = load_topics(settings.billing_topic_prefix), Metrics(), _told(settings)
    storage = _storage(settings, topics, metrics, stop_because)
    readiness = Readiness(storage, metrics)
    store = storage.store if told is None else TracedStore(storage.store, told)
    gateway = Gateway(settings, topics, metrics, store)
    loop.add_signal_handler(signal.SIGHUP, read_tokens, gateway, metrics)
    callers, probing = _connections(settings, metrics)
    callers.on_second.append(FreedMemory(gateway.received).look)
    timeout_s, reserve = settings.shutdown_timeout_s, Reserve(_RESERVED)
    front = Server(
        application(gateway if told is None else TracedEndpoints(gateway, told)),
        host=settings.host,
        port=settings.port,
        connections=callers,
        metrics=metrics,
        shutdown_timeout_s=_FRONT_SHARE * timeout_s,
        reserve=reserve,
        spends=False,
    )
    back = Server(
        probes(readiness, metrics, gateway),
        host=settings.metrics_host,
        port=settings.metrics_port,
        connections=probing,
        metrics=metrics,
        shutdown_timeout_s=1,
        reserve=reserve,
        spends=True,
    )
    watches = (readiness.watch(), gateway.refusals.watch(), callers.watch(), probing.watch())
    watching = [asyncio.create_task(watch) for watch in watches]
    serving = asyncio.create_task(_run(front, stop_because))
    answering = asyncio.create_task(_run(back, stop_because))
    gc.freeze()
    gc.set_threshold(_GARBAGE_AFTER)
    _LOG.info("starting", version=VERSION, kafka=settings.kafka_bootstrap_servers)
    await stop.wait()

    readiness.draining = True
    front.should_exit = True
    ending = loop.time() + timeout_s
    if (await asyncio.wait({serving}, timeout=timeout_s / 2))[1]:
        storage.hurry()
    await serving
    await storage.close(max(0.0, ending - loop.time()))
    back.should_exit = True
    await answering
    _end(watching, told)
    _LOG.info("stopped")
    if fatal:
        raise FatalError(fatal[0])


def _end(watching: Sequence[asyncio.Task[None]], told: Traces | None) -> None:
    for task in watching:
        task.cancel()
    if told is not None:
        told.close()


def read_tokens(gateway: Gateway, metrics: Metrics) -> None:
    """Take the tokens that the environment's files hold now; keep the old ones where they do not.

    Only files can have changed: a process cannot be given another environment.
    """
    try:
        settings = load()
        gateway.replace_tokens(settings)
    except ConfigurationError as error:
        metrics.token_reloads.labels("refused").inc()
        _LOG.error("tokens_not_read", detail=str(error))
        return
    metrics.token_reloads.labels("read").inc()
    _LOG.info("tokens_read", sources=sorted(set(settings.tokens().values())))


def _connections(settings: Settings, metrics: Metrics) -> tuple[Connections, Connections]:
    """Return those of the callbacks port and of the port of the probes."""
    descriptors = raise_descriptor_limit()
    most = room_for_callers(settings.max_connections, descriptors)
    _LOG.info("connections", most=most, descriptors=descriptors)
    if most < settings.max_connections:
        _LOG.warning("few_descriptors", wanted=settings.max_connections, most=most)
    patience = Patience(
        settings.head_timeout_s,
        settings.idle_timeout_s,
        body_bytes_per_s=settings.min_body_bytes_per_s,
    )
    callers = Connections("callbacks", most, patience, metrics)
    return callers, Connections("probes", _PROBES, patience, metrics)


def _told(settings: Settings) -> Traces | None:
    try:
        return traces(settings, "gateway")
    except ConfigurationError as error:
        raise FatalError(str(error)) from error


def _storage(
    settings: Settings, topics: Topics, metrics: Metrics, stop_because: Callable[[str], None]
) -> Storage:
    try:
        return Storage(settings, topics, metrics, stop_because)
    except SpoolError as error:
        raise FatalError(str(error)) from error
    except KafkaException as error:
        raise FatalError(f"the KAFKA_* variables do not fit: {error.args[0].str()}") from error


async def _run(server: Server, stop_because: Callable[[str], None]) -> None:
    try:
        await server.serve()
    except OSError as error:
        config = server.config
        stop_because(f"cannot listen on {config.host}:{config.port}: {error}; is the port taken?")
