"""The routes and their OpenAPI description."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from producer_gateway import VERSION
from schemas.usage import UsageUnit

CALLBACKS_PATH: Final = "/v1/callbacks/litellm"
CALLBACKS_ALIAS: Final = "/api/internal/billing/ingest"
USAGE_UNITS_PATH: Final = "/v1/usage-units"

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


class Accepted(BaseModel):
    """Everything is durable."""

    accepted: int = Field(description="Elements on the topic, to be billed.")
    parked: int = Field(description="Elements and damaged regions in the dead-letter topic.")
    spooled: int = Field(description="Records that wait in the local spool for the broker.")


class Refused(BaseModel):
    """Nothing may be taken as stored."""

    error: str = Field(description="A code.")
    detail: str = Field(description="What to do, in words.")


_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    202: {"model": Accepted, "description": "Everything is durable."},
    401: {"model": Refused, "description": "The token is missing or wrong."},
    413: {"model": Refused, "description": "The body is over GATEWAY_MAX_BODY_BYTES."},
    415: {"model": Refused, "description": "The body has a Content-Encoding."},
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


def application(callbacks: Endpoint, usage_units: Endpoint) -> ASGIApp:
    """Return the ASGI application that calls the two endpoints.

    They are called at once: all that a framework would do in front of them costs more than they do.
    It only describes them, and answers what is not for them.
    """
    endpoints = {
        CALLBACKS_PATH: callbacks,
        CALLBACKS_ALIAS: callbacks,
        USAGE_UNITS_PATH: usage_units,
    }
    described = _described()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = endpoints.get(scope["path"])
        if endpoint is None or scope.get("method") != "POST":
            await described(scope, receive, send)
            return
        response = await endpoint(Request(scope, receive))
        await response(scope, receive, send)

    return app


def _described() -> FastAPI:
    """Return the description as an application; it answers 404 and 405, the rest is not served."""
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
            _described_only,
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
        _described_only,
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
    document = _described().openapi()
    components = document.setdefault("components", {})
    components.setdefault("schemas", {})["UsageUnit"] = UsageUnit.model_json_schema()
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    return document


async def _described_only(request: Request) -> Response:
    raise NotImplementedError(request.url.path)
