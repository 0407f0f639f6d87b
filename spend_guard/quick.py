"""Asks for holds that are as they must be are answered ahead of the framework.

It takes more of the processor for such a request than all that is done to answer it. Whatever is
no valid ask goes on to it with its whole body, and is told there what is wrong.
"""

from typing import Final

from fastapi.responses import Response
from pydantic import ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from spend_guard.app import later
from spend_guard.books import AwayError
from spend_guard.door import HOLDS, again
from spend_guard.guard import Guard
from spend_guard.messages import HoldAnswer, HoldAsk
from spend_guard.placing import BusyError

_JSON: Final = "application/json"


class Quick:
    """Answers what it can, and leaves the rest to `app`. It stands behind the door."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if not _is_ask(scope):
            await self._app(scope, receive, send)
            return
        # The door hands out a body in one piece.
        body: bytes = (await receive())["body"]
        try:
            asked = HoldAsk.model_validate_json(body)
        except ValidationError:
            await self._app(scope, again(body, receive), send)
            return
        answer = await self._answer(asked)
        await answer(scope, receive, send)

    async def _answer(self, asked: HoldAsk) -> Response:
        try:
            answer = await self._guard.place(asked)
        except (AwayError, BusyError) as error:
            return later(error)
        if isinstance(answer, HoldAnswer):
            return Response(answer.model_dump_json(), media_type=_JSON)
        return answer


def _is_ask(scope: Scope) -> bool:
    if scope["path"] != HOLDS or scope["method"] != "POST":
        return False
    kinds = [value for name, value in scope["headers"] if name == b"content-type"]
    return kinds == [_JSON.encode()]
