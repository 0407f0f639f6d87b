"""Probes and metrics, on a port of their own."""

import asyncio
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from producer_gateway.metrics import Metrics
from producer_gateway.producer import KafkaStore

_CHECK_S: Final = 10.0
_RECHECK_S: Final = 1.0


class Readiness:
    """Knows whether a callback could be stored now, and if not, why."""

    def __init__(self, store: KafkaStore, metrics: Metrics) -> None:
        self._store = store
        self._broker_up = metrics.broker_up
        self._missing: dict[str, str] = {"kafka": "the broker has not answered yet"}
        self.draining = False

    @property
    def missing(self) -> dict[str, str]:
        """What is missing, by dependency; empty when ready."""
        return {"gateway": "shutting down"} if self.draining else self._missing

    async def watch(self) -> None:
        """Check the broker again and again, until cancelled."""
        while True:
            topics = await self._store.check()
            if topics is None:
                self._missing = {"kafka": "the broker does not answer"}
            elif topics:
                self._missing = {
                    "topics": f"missing: {', '.join(sorted(topics))}; create them with "
                    "`python -m consumer topics --apply`"
                }
            else:
                self._missing = {}
            self._broker_up.set(not self._missing)
            await asyncio.sleep(_RECHECK_S if self._missing else _CHECK_S)


def probes(readiness: Readiness, metrics: Metrics) -> Starlette:
    """Return the ASGI application of /livez, /readyz and /metrics."""

    async def livez(_: Request) -> Response:
        # This answer comes from the event loop that serves callbacks: that it comes is the check.
        return JSONResponse({"status": "live"})

    async def readyz(_: Request) -> Response:
        missing = readiness.missing
        status = "not ready" if missing else "ready"
        return JSONResponse({"status": status, "missing": missing}, 503 if missing else 200)

    async def exposition(_: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", exposition)]
    )
