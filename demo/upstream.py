"""A small OpenAI-compatible provider on loopback, so that real streaming is exercised.

Every answer reports the same usage, so the price of a call is known before it is made. A model
whose name ends in `-err500` fails.
"""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel

PROMPT_TOKENS = 8
COMPLETION_TOKENS = 4
_WORDS = ("Small", " paper", " boats", " sail.")
_SECONDS_A_WORD = 0.02
_USAGE = {
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": COMPLETION_TOKENS,
    "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
}

app = FastAPI(title="Loopback LLM provider", openapi_url=None)


class StreamOptions(BaseModel):
    """What the client wants at the end of a stream."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """The part of a chat completion request that changes the answer."""

    model: str
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()


@app.get("/livez")
def livez() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok"}


@app.post("/v1/chat/completions", response_model=None)
async def chat_completions(request: ChatRequest) -> Response:
    """Answer a chat completion: whole, streamed as server-sent events, or with an error."""
    if request.model.endswith("-err500"):
        error = {"message": "The loopback provider fails on purpose.", "type": "server_error"}
        return JSONResponse({"error": error}, status_code=500)
    if request.stream:
        return StreamingResponse(_events(request), media_type="text/event-stream")
    message = {"role": "assistant", "content": "".join(_WORDS)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return JSONResponse(
        _frame(request.model, "chat.completion") | {"choices": [choice], "usage": _USAGE}
    )


async def _events(request: ChatRequest) -> AsyncIterator[str]:
    frame = _frame(request.model, "chat.completion.chunk")
    for word in _WORDS:
        delta = {"role": "assistant", "content": word}
        yield _event(frame | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        await asyncio.sleep(_SECONDS_A_WORD)
    yield _event(frame | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if request.stream_options.include_usage:
        yield _event(frame | {"choices": [], "usage": _USAGE})
    yield "data: [DONE]\n\n"


def _frame(model: str, kind: str) -> dict[str, object]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


def _event(content: dict[str, object]) -> str:
    return f"data: {json.dumps(content)}\n\n"
