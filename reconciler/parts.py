"""The parts of a reconciler, made of its settings: the composition root of every command."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from ledger.reconciliation import Reconciliation
from reconciler import metrics
from reconciler.auditing import Auditor
from reconciler.gateway import Gateway
from reconciler.judging import Judge
from reconciler.passes import Durations, Passes
from reconciler.proxy import Proxy
from reconciler.reconciling import Reconciler
from reconciler.settings import Settings
from reconciler.spend_logs import SpendLogs
from schemas.topics import load_topics

log = structlog.get_logger("reconciler")


@dataclass(frozen=True)
class Parts:
    """What the commands use."""

    books: Reconciliation
    reconciler: Reconciler
    passes: Passes
    auditor: Auditor


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


@contextmanager
def parts(
    settings: Settings,
    *,
    wait: Callable[[float], None],
    turned: Callable[[], None] = lambda: None,
    held: Callable[[], None] = lambda: None,
) -> Iterator[Parts]:
    """Make the parts, and close them in the end.

    `wait` waits some seconds between two tries; it and `turned` may raise to stop.
    """
    books = Reconciliation(
        settings.database_url.get_secret_value(),
        settings.reconciler_database_role,
        settings.source_system,
    )
    judge = Judge(books, settings.policy(load_topics("").usage_units.name))
    patience, grace = settings.patience, settings.grace
    with (
        closing(books),
        Proxy(
            settings.litellm_url,
            settings.litellm_api_key.get_secret_value,
            patience,
            wait=wait,
            failed=partial(_failed, "litellm"),
        ) as proxy,
        Gateway(
            settings.gateway_url,
            lambda: settings.token,
            patience,
            posts_at_once=settings.reconciler_posts_at_once,
            callbacks_a_post=settings.reconciler_post_callbacks,
            wait=wait,
            failed=partial(_failed, "gateway"),
        ) as gateway,
    ):
        logs = SpendLogs(proxy, settings.reconciler_page_rows)
        reconciler = Reconciler(logs, books, judge, gateway, grace=grace, now=now, turned=turned)
        durations = Durations(
            grace,
            timedelta(seconds=settings.reconciler_overlap_s),
            timedelta(seconds=settings.reconciler_look_back_s),
            timedelta(seconds=settings.reconciler_window_s),
        )
        yield Parts(
            books,
            reconciler,
            Passes(reconciler, books, durations, now=now, held=held),
            Auditor(logs, books, judge, grace=grace, now=now, turned=turned),
        )


def _failed(dependency: str, fault: str) -> None:
    metrics.FAULTS.labels(dependency).inc()
    log.warning("will be tried again", dependency=dependency, detail=fault[:300])
