"""The process: what it is made of, how it starts and how it stops."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from threading import Event, Thread
from typing import Any, Final, NamedTuple

import structlog
import uvicorn
from starlette.types import ASGIApp

from charging.estimate import Rates
from ledger.credits import Credits
from ledger.healing import LedgerError
from ledger.holds import APPLICATION, Holds
from ledger.rates import TAIL_PAGES, learned
from runtime import VERSION
from runtime.probes import Probes
from spend_guard.amounts import Amounts
from spend_guard.app import api
from spend_guard.books import Books, CreditBooks, HoldBooks
from spend_guard.connections import Connections, room
from spend_guard.door import Door, Tokens
from spend_guard.guard import Guard, Terms
from spend_guard.health import Health
from spend_guard.placing import Bounds, Placing
from spend_guard.quick import Quick
from spend_guard.rates import KnownRates, Learner
from spend_guard.settings import Settings
from spend_guard.sweeping import Sweeper

_LOG: Final = structlog.get_logger("spend_guard")
_KEPT_SECONDS: Final = 75
"""How long a connection without a request stays open: the plugin keeps its own."""


class _Books(NamedTuple):
    """The books, by what is asked of them: each has connections of its own."""

    placing: Books[HoldBooks]
    aside: Books[HoldBooks]
    """Of accounts that other transactions have."""
    releasing: Books[HoldBooks]
    credit: Books[CreditBooks]


class Server(uvicorn.Server):
    """Serves `app` until `should_exit`; the signals are left to the process."""

    def __init__(self, app: ASGIApp, settings: Settings, connections: Connections) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.spend_guard_host,
                port=settings.spend_guard_port,
                loop="uvloop",
                http=connections.protocol,  # type: ignore[arg-type] # it makes what a class would
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=_KEPT_SECONDS,
                timeout_graceful_shutdown=settings.spend_guard_shutdown_timeout_s,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then answer what is in hand.

    Raises `LedgerError` where the ledger is not as it must be, `OSError` where a port is taken.
    """
    loop, stop, failures = asyncio.get_running_loop(), asyncio.Event(), list[LedgerError]()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listening = _listening(settings.spend_guard_host, settings.spend_guard_port)
    health = Health(settings.spend_guard_stalled_after_s)
    probes = Probes(
        settings.spend_guard_metrics_host,
        settings.spend_guard_metrics_port,
        health.live,
        health.ready,
    )

    def failed(error: LedgerError) -> None:
        failures.append(error)
        loop.call_soon_threadsafe(stop.set)

    ending = Event()
    sweeping = Thread(target=_sweeper(settings, health, ending, failed).run, name="sweeper")
    sweeping.start()
    rates = KnownRates()
    learner = Learner(partial(_learn, settings), rates, ending, settings.spend_guard_rates_s)
    # It only reads, and nobody waits for it: what it is at ends with the process.
    Thread(target=learner.run, name="learner", daemon=True).start()
    books = _books(settings, health)
    connections = Connections(
        room(settings.spend_guard_max_connections), settings.spend_guard_request_timeout_s
    )
    server = Server(_app(settings, books, rates), settings, connections)
    serving = asyncio.create_task(server.serve([listening]))
    watching = asyncio.create_task(connections.watch())
    _LOG.info(
        "spend guard started",
        version=VERSION,
        port=listening.getsockname()[1],
        probes=probes.server_port,
    )
    await stop.wait()

    _LOG.info("stopping")
    health.stopping = True
    server.should_exit = True
    ending.set()
    await serving
    watching.cancel()
    await asyncio.to_thread(_end, sweeping, books)
    probes.shutdown()
    _LOG.info("stopped")
    if failures:
        raise failures[0]


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that takes connections. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=1_024)


def _make_holds(settings: Settings) -> Holds:
    return Holds(settings.database_url.get_secret_value(), settings.spend_guard_database_role)


def _make_credits(settings: Settings) -> Credits:
    url, role = settings.database_url.get_secret_value(), settings.spend_guard_database_role
    return Credits(url, role, APPLICATION, settings.thresholds)


def _learn(settings: Settings) -> Mapping[str, Rates]:
    """Return the rates that the newest receipts tell. Raises `LedgerError`."""
    until = datetime.now(UTC)
    return learned(
        settings.database_url.get_secret_value(),
        settings.spend_guard_database_role,
        until - settings.estimate_window,
        until,
        calls=settings.estimate_calls,
        rules=settings.learning,
        pages=TAIL_PAGES,
    )


def _sweeper(
    settings: Settings, health: Health, stop: Event, failed: Callable[[LedgerError], None]
) -> Sweeper:
    return Sweeper(
        _make_holds(settings),
        health,
        stop,
        failed,
        every_seconds=settings.spend_guard_sweep_s,
        keep_days=settings.spend_guard_keep_days,
    )


def _books(settings: Settings, health: Health) -> _Books:
    make = partial(_make_holds, settings)
    return _Books(
        placing=Books(make, settings.spend_guard_connections, health),
        aside=Books(make, 1, health),
        releasing=Books(make, 1, health),
        credit=Books(partial(_make_credits, settings), 1, health),
    )


def _app(
    settings: Settings,
    books: _Books,
    rates: KnownRates,
) -> ASGIApp:
    bounds = Bounds(
        lanes=settings.spend_guard_connections,
        batch=settings.spend_guard_batch_asks,
        waiting=settings.spend_guard_queue_asks,
        seconds=settings.spend_guard_wait_ms / 1_000,
    )
    terms = Terms(
        settings.spend_guard_hold_s,
        settings.spend_guard_longest_hold_s,
        settings.plenty,
    )
    guard = Guard(
        Placing(books.placing, books.aside, settings.billing_unknown_account, bounds),
        books.releasing,
        books.credit,
        Amounts(rates, settings.terms),
        terms,
    )
    return Door(Quick(api(guard), guard), Tokens(settings.tokens, settings.admin_tokens))


def _end(sweeping: Thread, books: Sequence[Books[Any]]) -> None:
    sweeping.join()
    for each in books:
        each.close()
