"""The HTTP application: which path is answered by what, and an answer in one form to all faults."""

from typing import Any, Final, TypeAlias

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from runtime import VERSION
from spend_guard.books import AwayError, LockedError
from spend_guard.guard import Guard
from spend_guard.messages import (
    AccountAnswer,
    EntriesAnswer,
    EntryAnswer,
    HoldAnswer,
    Refused,
    Release,
    refused,
)
from spend_guard.placing import BusyError

_Responses: TypeAlias = dict[int | str, dict[str, Any]]
_ANSWERS: Final[_Responses] = {
    400: {"model": Refused, "description": "The body is no UTF-8."},
    401: {"model": Refused, "description": "Token missing or wrong."},
    413: {"model": Refused, "description": "The body is too large."},
    422: {"model": Refused, "description": "The request is not as its schema says."},
    503: {
        "model": Refused,
        "description": "Nothing was done; ask again later.",
    },
}
_UNKNOWN: Final[_Responses] = {
    404: {"model": Refused, "description": "Nobody has opened the account."}
}
_SECURITY: Final = {"security": [{"bearer": list[str]()}]}
_RETRY: Final = {"Retry-After": "1"}


def api(guard: Guard) -> FastAPI:
    """Return the application: every route, and an answer in one form to whatever goes wrong."""
    app = FastAPI(
        title="billing-stream spend guard",
        version=VERSION,
        summary="Asked before each call: whether its account can afford it.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.include_router(_routes(guard))
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _lost)
    app.add_exception_handler(AwayError, _later)
    app.add_exception_handler(BusyError, _later)
    return app


def later(error: Exception) -> Response:
    """Return the answer to an ask that may be repeated: `BusyError`, `LockedError`, `AwayError`."""
    match error:
        case BusyError():
            kind, message = "busy", "too many asks wait"
        case LockedError():
            kind, message = "account_busy", "another transaction has the account"
        case _:
            kind, message = "away", "the ledger does not answer"
    return JSONResponse(refused(message, kind), 503, _RETRY)


def _routes(guard: Guard) -> APIRouter:
    routes = APIRouter(responses=_ANSWERS)
    unaffordable = {"model": Refused, "description": "The account cannot afford the call."}
    unknown_hold: _Responses = {404: {"model": Refused, "description": "There is no such hold."}}
    known = {"model": EntryAnswer, "description": "It was moved before, by the same key."}
    taken = {"model": Refused, "description": "The key stands for another movement."}
    routes.add_api_route(
        "/v1/holds",
        guard.place,
        methods=["POST"],
        response_model=HoldAnswer,
        responses={402: unaffordable},
        operation_id="place_hold",
        openapi_extra=_SECURITY,
    )
    routes.add_api_route(
        "/v1/holds/{hold}/release",
        guard.release,
        methods=["POST"],
        response_model=Release,
        responses=unknown_hold,
        operation_id="release_hold",
        openapi_extra=_SECURITY,
    )
    routes.add_api_route(
        "/v1/accounts/{account}",
        guard.account,
        response_model=AccountAnswer,
        responses=_UNKNOWN,
        operation_id="get_account",
        openapi_extra=_SECURITY,
    )
    routes.add_api_route(
        "/v1/accounts/{account}/entries",
        guard.entries,
        response_model=EntriesAnswer,
        responses=_UNKNOWN,
        operation_id="list_entries",
        openapi_extra=_SECURITY,
    )
    routes.add_api_route(
        "/v1/accounts/{account}/entries",
        guard.post,
        methods=["POST"],
        status_code=201,
        response_model=EntryAnswer,
        responses={200: known, 409: taken, **_UNKNOWN},
        operation_id="post_entry",
        openapi_extra=_SECURITY,
    )
    return routes


def openapi(guard: Guard | None = None) -> dict[str, Any]:
    """Return the OpenAPI document; needs no settings and no database."""
    described = guard or Guard.__new__(Guard)
    document = api(described).openapi()
    components = document.setdefault("components", {})
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    return document


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what it is registered for
    faults = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
    return JSONResponse(refused("; ".join(faults), "invalid_request"), 422)


async def _lost(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
    kind = {404: "unknown_path", 405: "method"}.get(error.status_code, "invalid_request")
    return JSONResponse(refused(str(error.detail), kind), error.status_code, error.headers)


async def _later(_: Request, error: Exception) -> Response:
    return later(error)
