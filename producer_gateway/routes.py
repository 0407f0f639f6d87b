"""The routes and their OpenAPI description."""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeAlias

from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from producer_gateway.request import REFUSAL
from runtime import VERSION
from schemas.usage import UsageUnit

CALLBACKS_PATH: Final = "/v1/callbacks/litellm"
CALLBACKS_ALIAS: Final = "/api/internal/billing/ingest"
USAGE_UNITS_PATH: Final = "/v1/usage-units"
PATHS: Final = (CALLBACKS_PATH, USAGE_UNITS_PATH, CALLBACKS_ALIAS)
_SLASHES: Final = re.compile("//+")

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


class Accepted(BaseModel):
    """Everything is durable."""

    accepted: int = Field(description="Callbacks or usage units that are stored.")
    parked: int = Field(description="Callbacks and damaged regions that become dead letters.")
    spooled: int = Field(description="Records among these that wait in the local spool for Kafka.")


class Refused(BaseModel):
    """Nothing may be taken as stored."""

    error: str = Field(description="A code.")
    detail: str = Field(description="What to do, in words.")
    request_id: str = Field(
        description="The request's `x-request-id`, if it has a plain one, or a new one; also in "
        "the answer's header and in the gateway's log."
    )


class Lost(Refused):
    """The path or the method is wrong."""

    paths: list[str] = Field(description="The paths that exist; each takes POST.")


_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    202: {"model": Accepted, "description": "Everything is durable."},
    400: {
        "model": Refused,
        "description": "The body is empty, or its framing broke off or is not as declared.",
    },
    401: {"model": Refused, "description": "The token is missing or wrong."},
    405: {"model": Lost, "description": "The method is not POST."},
    408: {"model": Refused, "description": "The body came too slowly."},
    413: {"model": Refused, "description": "The body is over GATEWAY_MAX_BODY_BYTES."},
    415: {"model": Refused, "description": "The body has a Content-Encoding."},
    429: {"model": Refused, "description": "Too many requests were sent before their answers."},
    431: {"model": Refused, "description": "The head is over 64 KiB, or over 256 fields."},
    503: {"model": Refused, "description": "Not stored; send again after Retry-After seconds."},
}
_CALLBACKS_BODY: Final = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "description": "LiteLLM StandardLoggingPayload: a list, one object, or one a line.",
                "oneOf": [{"type": "array", "items": {}}, {"type": "object"}],
            }
        }
    },
}
_UNIT_SCHEMA: Final = {"$ref": "#/components/schemas/UsageUnit"}
_UNITS_BODY: Final = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"oneOf": [_UNIT_SCHEMA, {"type": "array", "items": _UNIT_SCHEMA}]}
        }
    },
}
_SECURITY: Final = [{"bearer": list[str]()}]


class Endpoints(Protocol):
    """What the application calls; each answers every request that it is given."""

    async def callbacks(self, request: Request) -> Response:
        """Take callbacks."""

    async def usage_units(self, request: Request) -> Response:
        """Take usage units."""

    async def elsewhere(self, request: Request) -> Response:
        """Refuse a request for a path that does not exist."""

    async def unreadable(self, request: Request) -> Response:
        """Refuse what the connection could not read as a request."""


def application(gateway: Endpoints) -> ASGIApp:
    """Return the ASGI application of the callbacks port.

    Usage units come through FastAPI, by the route that the document describes. Callbacks and
    refusals do not: all that a framework would do in front of them costs more than they do. A slash
    at the end of a path, or a doubled one, changes nothing; nobody is redirected: a client that
    follows would send token and prompts to wherever it is told.
    """
    api = _api(gateway.callbacks, gateway.usage_units)
    endpoints = {
        CALLBACKS_PATH: gateway.callbacks,
        CALLBACKS_ALIAS: gateway.callbacks,
        USAGE_UNITS_PATH: gateway.usage_units,
    }

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if REFUSAL in scope.get("state", ()):
            endpoint: Endpoint = gateway.unreadable
        elif path == USAGE_UNITS_PATH and scope["method"] == "POST":
            await api(scope, receive, send)
            return
        else:
            endpoint = endpoints.get(path) or endpoints.get(_normalised(path)) or gateway.elsewhere
        response = await endpoint(Request(scope, receive))
        await response(scope, receive, send)

    return app


def _normalised(path: str) -> str:
    return _SLASHES.sub("/", path).removesuffix("/")


def _api(callbacks: Endpoint, usage_units: Endpoint) -> FastAPI:
    """Return the routes of the callbacks port, each with its description."""
    app = FastAPI(
        title="billing-stream gateway",
        version=VERSION,
        summary="Takes LiteLLM's generic_api callbacks; 202 means durable.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    for path, alias in ((CALLBACKS_PATH, False), (CALLBACKS_ALIAS, True)):
        app.add_api_route(
            path,
            callbacks,
            methods=["POST"],
            status_code=202,
            response_model=None,
            responses=_ANSWERS,
            deprecated=alias or None,
            operation_id="post_callbacks_older_name" if alias else "post_callbacks",
            summary="Take callbacks",
            openapi_extra={"requestBody": _CALLBACKS_BODY, "security": _SECURITY},
        )
    app.add_api_route(
        USAGE_UNITS_PATH,
        usage_units,
        methods=["POST"],
        status_code=202,
        response_model=None,
        responses=_ANSWERS | {422: {"description": "A usage unit is not as its schema says."}},
        operation_id="post_usage_units",
        summary="Take usage units",
        openapi_extra={"requestBody": _UNITS_BODY, "security": _SECURITY},
    )
    return app


def openapi() -> dict[str, Any]:
    """Return the OpenAPI document; needs no settings and no broker."""
    document = _api(_described_only, _described_only).openapi()
    components = document.setdefault("components", {})
    components.setdefault("schemas", {})["UsageUnit"] = UsageUnit.model_json_schema()
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    return document


async def _described_only(request: Request) -> Response:
    raise NotImplementedError(request.url.path)
