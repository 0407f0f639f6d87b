"""Probes and metrics, on a port of their own."""

import asyncio
from typing import Final, Protocol

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from producer_gateway.journal import SpoolError
from producer_gateway.metrics import Metrics
from producer_gateway.request import REFUSAL
from producer_gateway.storage import Storage

_LOG: Final = structlog.get_logger(__name__)
_CHECK_S: Final = 10.0
_RECHECK_S: Final = 1.0


class Strays(Protocol):
    """Answers what came to this port by mistake."""

    async def astray(self, request: Request) -> Response:
        """Refuse a request that is for no probe."""

    async def unreadable(self, request: Request) -> Response:
        """Refuse what the connection could not read as a request."""


class Readiness:
    """Knows whether a callback could be stored now, in Kafka or in the spool, and if not, why."""

    def __init__(self, storage: Storage, metrics: Metrics) -> None:
        self._storage = storage
        self._spool = storage.spool
        self._broker_up = metrics.broker_up
        self._kafka: dict[str, str] = {"kafka": "the broker has not answered yet"}
        self.draining = False

    @property
    def missing(self) -> dict[str, str]:
        """What is missing, by dependency; empty when ready."""
        if self.draining:
            return {"gateway": "shutting down"}
        away = self._away()
        if away and self._spool is not None:
            return {**away, "spool": self._spool.trouble} if self._spool.trouble else {}
        return away

    def _away(self) -> dict[str, str]:
        # The requests know earlier than the next check that the broker has gone.
        away = self._storage.away()
        return self._kafka or ({"kafka": away} if away else {})

    def state(self) -> dict[str, object]:
        """What the probe says: also what is away while the gateway is ready."""
        missing, away = self.missing, self._away()
        state: dict[str, object] = {
            "status": "not ready" if missing else "ready",
            "missing": missing,
            "kafka": "away: " + "; ".join(away.values()) if away else "there",
        }
        if self._spool is not None:
            state["spool"] = {
                "records": self._spool.records,
                "bytes": self._spool.bytes,
                "oldest_seconds": round(self._spool.age_s(), 1),
                "set_aside": self._spool.set_aside,
            }
        return state

    async def watch(self) -> None:
        """Check the broker and the spool's disk again and again, until cancelled."""
        while True:
            topics = await self._storage.kafka.check()
            if topics is None:
                said = self._storage.kafka.trouble
                self._kafka = {"kafka": f"the broker does not answer{f': {said}' if said else ''}"}
            elif topics:
                self._kafka = {
                    "topics": f"missing: {', '.join(sorted(topics))}; create them with "
                    "`billing topics --apply`"
                }
            else:
                self._kafka = {}
            self._broker_up.set(not self._kafka)
            await self._check_spool()
            await asyncio.sleep(_RECHECK_S if self._kafka else _CHECK_S)

    async def _check_spool(self) -> None:
        if self._spool is not None:
            try:
                await self._spool.check()
            except SpoolError as error:
                _LOG.error("spool_failed", detail=str(error))


def probes(readiness: Readiness, metrics: Metrics, stray: Strays) -> ASGIApp:
    """Return the ASGI application of /livez, /readyz and /metrics; `stray` answers all else."""

    async def livez(_: Request) -> Response:
        # This answer comes from the event loop that serves callbacks: that it comes is the check.
        return JSONResponse({"status": "live"})

    async def readyz(_: Request) -> Response:
        return JSONResponse(readiness.state(), 503 if readiness.missing else 200)

    async def exposition(_: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    answers = {"/livez": livez, "/readyz": readyz, "/metrics": exposition}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if REFUSAL in scope.get("state", ()):
            response = await stray.unreadable(request)
        elif scope["method"] in {"GET", "HEAD"} and scope["path"] in answers:
            response = await answers[scope["path"]](request)
        else:
            response = await stray.astray(request)
        await response(scope, receive, send)

    return app
