"""Loaded by a LiteLLM proxy: refuses calls before the model is asked, as a guardrail does."""

from typing import Any

from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger


class RefusingHook(CustomLogger):  # type: ignore[misc] # it is in the proxy's own environment
    """Refuses the calls of the end user `forbidden`."""

    async def async_pre_call_hook(
        self,
        user_api_key_dict: Any,  # noqa: ANN401 - LiteLLM's own class
        cache: object,  # noqa: ARG002 - LiteLLM's signature
        data: dict[str, Any],
        call_type: str,  # noqa: ARG002 - LiteLLM's signature
    ) -> dict[str, Any]:
        """Let a call go on or raise `HTTPException` (400)."""
        if user_api_key_dict.end_user_id == "forbidden":
            raise HTTPException(status_code=400, detail="A guardrail refuses this call.")
        return data


hook = RefusingHook()
