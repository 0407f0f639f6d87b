"""What calls the plugin of the spend guard as a proxy does, and what answers it as a guard."""

import asyncio
import json
import uuid
from typing import Any

import httpx
import pytest
from fastapi import HTTPException

from tests.doubles.litellm_stub import ENVIRONMENT, caller


class Guard:
    """Answers the plugin in place of the guard; `fault` is raised instead of an answer."""

    def __init__(self) -> None:
        self.status = 200
        self.body: Any = {"hold": None, "kind": "postpaid", "plenty": False}
        self.fault: Exception | None = None
        self.asked: list[dict[str, Any]] = []
        self.released: list[str] = []

    def holds(self, **changed: object) -> str:
        """Answer with a hold from now on."""
        hold = str(uuid.uuid4())
        self.status = 200
        self.body = {"hold": hold, "kind": "prepaid", "plenty": False, **changed}
        return hold

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/release"):
            self.released.append(request.url.path.split("/")[3])
            return httpx.Response(200, json={})
        self.asked.append(json.loads(request.content))
        if self.fault is not None:
            raise self.fault
        return httpx.Response(self.status, json=self.body)


class AskingProxy:
    """Calls the plugin as a proxy does; `now` is its clock."""

    def __init__(self, plugin: Any, **settings: str) -> None:  # noqa: ANN401 - as above
        self.now, self.guard = 0.0, Guard()
        self.plugin = plugin.SpendGuard(
            plugin.settings_of({**ENVIRONMENT, **settings}),
            clock=lambda: self.now,
            transport=httpx.MockTransport(self.guard),
        )
        self.loop = asyncio.new_event_loop()

    def call(
        self, account: str = "acme", call_type: str = "acompletion", **data: object
    ) -> dict[str, Any]:
        """Let the plugin look at a request; what it became. Raises `HTTPException`."""
        request: dict[str, Any] = {
            "model": "cheap",
            "messages": [],
            "litellm_call_id": "call",
            "metadata": {},
        }
        request |= data
        if "litellm_metadata" not in request:
            request["metadata"] = {"user_api_key_hash": "1", **request["metadata"]}
        return dict(self.loop.run_until_complete(self._hook(account, request, call_type)))

    def calls_at_once(self, count: int) -> None:
        """Let the plugin look at several requests of one account."""

        async def all_of_them() -> None:
            requests = [{"model": "cheap", "messages": []} for _ in range(count)]
            await asyncio.gather(*(self._hook("acme", request) for request in requests))

        self.loop.run_until_complete(all_of_them())

    async def _hook(
        self, account: str, request: dict[str, Any], call_type: str = "acompletion"
    ) -> Any:  # noqa: ANN401 - LiteLLM's
        asking = caller(end_user_id=account)
        return await self.plugin.async_pre_call_hook(asking, None, request, call_type)

    def failed(self, request: dict[str, Any]) -> None:
        """Tell the plugin that a request failed, and let it do what follows."""

        async def told() -> None:
            await self.plugin.async_post_call_failure_hook(request, ValueError(), None)
            await asyncio.gather(*self.plugin._releases)  # noqa: SLF001 - they are under way

        self.loop.run_until_complete(told())

    def goes_on(self) -> None:
        """Let the plugin do what it has left for later."""

        async def all_of_it() -> None:
            await asyncio.gather(*self.plugin._releases)  # noqa: SLF001 - they are under way

        self.loop.run_until_complete(all_of_it())

    def refused(self, account: str = "acme", **data: Any) -> str:  # noqa: ANN401 - as above
        """Make a call that is refused; the text of its refusal."""
        with pytest.raises(HTTPException) as refusal:
            self.call(account, **data)
        assert refusal.value.status_code == httpx.codes.PAYMENT_REQUIRED
        return refusal.value.detail
