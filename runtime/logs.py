"""Logs: one JSON object a line on standard error; never a payload, never a token."""

import logging
import sys
import time
from collections.abc import Callable
from typing import Final, Literal

import structlog
from pydantic import Field
from pydantic_settings import BaseSettings

_PAUSE_S: Final = 60.0


class LogLevel(BaseSettings):
    """What is logged."""

    consumer_log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        alias="CONSUMER_LOG_LEVEL",
        description="Lowest level that is logged.",
    )


def configure(level: str) -> None:
    """Send structlog's and the libraries' own log lines to standard error as JSON."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if level != "debug":
        # It tells each request, with whom it was about.
        logging.getLogger("httpx").setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


class OnceAMinute:
    """Holds a log line back that was said less than a minute ago, and counts how often."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said = dict[str, tuple[float, int]]()

    def now(self, kind: str = "") -> int | None:
        """Return how often it happened since it was said, this time included; None: not yet.

        `kind` is one of few.
        """
        now = self._clock()
        at, unsaid = self._said.get(kind, (now - _PAUSE_S, 0))
        if now - at < _PAUSE_S:
            self._said[kind] = at, unsaid + 1
            return None
        self._said[kind] = now, 0
        return unsaid + 1
