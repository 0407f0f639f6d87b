"""A run that has just ended: its calls are looked for at once, without waiting for any grace.

For executors that set `end_user` to `run/attempt` and want the bill of a run now.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from time import monotonic
from typing import Final

import msgspec
import structlog

from reconciler.parts import Parts, now
from reconciler.reconciling import Tally
from reconciler.spend_logs import Window
from reconciler.units import Unit
from schemas.identity import run_attempt
from schemas.text import identifier

log = structlog.get_logger("reconciler")

_LOOK_SECONDS: Final = 2.0
_AHEAD: Final = timedelta(minutes=5)
"""The proxy's clock may be ahead of ours."""
_MOST_UNITS: Final = 1_000
_UNANSWERED: Final = ("missing", "unidentified", "elsewhere", "unreadable", "too_young")


class Completed(msgspec.Struct, frozen=True):
    """What came of a run.

    `rows` are those of the spend log, `reposted` how many were lost, `unanswered` those without an
    answer in the books, `units` what the executor says it called and nothing else knows.
    """

    rows: int
    reposted: int
    unanswered: int
    units: list[Unit]
    receipts: int
    latency_seconds: float | None

    @property
    def whole(self) -> bool:
        """Whether every call that anything tells of has its answer, and there is one."""
        return bool(self.rows or self.receipts) and not self.unanswered and not self.units


def named(run: str) -> tuple[str, int] | None:
    """Return run and attempt of `run/attempt`; None where it is none."""
    return run_attempt(run)


def complete(
    made: Parts,
    run: tuple[str, int],
    look_back: timedelta,
    seconds: float,
    wait: Callable[[float], None],
) -> Completed:
    """Reconcile a run until all its calls have their answer, for at most `seconds`.

    LiteLLM writes rows some seconds after a call, and receipts take a moment as well. Raises
    `SpendLogError`, `GatewayError` and `LedgerError`.
    """
    name, attempt = run
    began, reposted = monotonic(), 0
    while True:
        moment = now()
        window = Window(moment - look_back, moment + _AHEAD)
        tally = made.reconciler.run(f"{name}/{attempt}", window)
        reposted += tally.reposted
        found = _found(made, run, tally, reposted)
        if found.whole or monotonic() - began >= seconds:
            return found
        log.info(
            "waiting for the run",
            rows=found.rows,
            reposted=reposted,
            unanswered=found.unanswered,
            units=len(found.units),
        )
        wait(_LOOK_SECONDS)


def _found(made: Parts, run: tuple[str, int], tally: Tally, reposted: int) -> Completed:
    name, attempt = identifier(run[0]), run[1]
    units = made.books.unmatched_units(_MOST_UNITS, run=run)
    books = made.books.run(name, attempt)
    return Completed(
        rows=tally.rows,
        reposted=reposted,
        unanswered=sum(tally.verdicts[verdict] for verdict in _UNANSWERED),
        units=list(units),
        receipts=books.receipts,
        latency_seconds=_seconds(books.ended_at, books.written_at),
    )


def _seconds(ended: datetime | None, written: datetime | None) -> float | None:
    return None if ended is None or written is None else (written - ended).total_seconds()
