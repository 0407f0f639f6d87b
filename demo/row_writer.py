"""Loaded by a LiteLLM proxy: tells of each call to what stands in for its spend log, at once.

A proxy with a database writes the rows of calls by itself, apart from its callbacks.
"""

import asyncio
import os
from typing import Any

import httpx
from litellm.integrations.custom_logger import CustomLogger
from litellm.litellm_core_utils.safe_json_dumps import safe_dumps

_SECONDS = 30


class RowWriter(CustomLogger):  # type: ignore[misc] # it is in the proxy's own environment
    """POSTs the callback of a call to SPEND_LOG_CALLBACKS.

    Loggers are told of a call one after the other. Those behind this one never hear of a call with
    the tag SPEND_LOG_HOLDS: the proxy is to be killed before it sends the callback.
    """

    async def async_log_success_event(
        self, kwargs: dict[str, Any], *_: object, **__: object
    ) -> None:
        """Write the row of a call that has its answer."""
        await self._write(kwargs["standard_logging_object"])

    async def async_log_failure_event(
        self, kwargs: dict[str, Any], *_: object, **__: object
    ) -> None:
        """Write the row of a call that failed."""
        await self._write(kwargs["standard_logging_object"])

    async def _write(self, callback: dict[str, Any]) -> None:
        async with httpx.AsyncClient(timeout=_SECONDS, trust_env=False) as client:
            answer = await client.post(
                os.environ["SPEND_LOG_CALLBACKS"], content=safe_dumps(callback)
            )
            answer.raise_for_status()
        if os.environ["SPEND_LOG_HOLDS"] in (callback.get("request_tags") or ()):
            await asyncio.Event().wait()


writer = RowWriter()
