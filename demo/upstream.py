"""A small provider on loopback, like OpenAI's or Anthropic's, so that real streaming is exercised.

Every answer reports the same usage, so the price of a call is known before it is made. A model
whose name ends in `-err500` fails.
"""

import asyncio
import json
import time
import uuid
from collections import Counter
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
_asked = Counter[str]()


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


@app.get("/asked")
def asked() -> dict[str, int]:
    """Say how many chat completions each model was asked for."""
    return dict(_asked)


@app.post("/v1/chat/completions", response_model=None)
async def chat_completions(request: ChatRequest) -> Response:
    """Answer a chat completion: whole, streamed as server-sent events, or with an error."""
    _asked[request.model] += 1
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


@app.post("/v1/messages", response_model=None)
async def messages(request: ChatRequest) -> Response:
    """Answer a message as Anthropic does: whole, or streamed as its events."""
    message: dict[str, object] = {
        "id": f"msg_{uuid.uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": PROMPT_TOKENS, "output_tokens": 0},
    }
    if request.stream:
        return StreamingResponse(_message_events(message), media_type="text/event-stream")
    usage = {"input_tokens": PROMPT_TOKENS, "output_tokens": COMPLETION_TOKENS}
    content = [{"type": "text", "text": "".join(_WORDS)}]
    end = {"content": content, "stop_reason": "end_turn", "usage": usage}
    return JSONResponse(message | end)


async def _message_events(message: dict[str, object]) -> AsyncIterator[str]:
    yield _named_event("message_start", message=message)
    block = {"type": "text", "text": ""}
    yield _named_event("content_block_start", index=0, content_block=block)
    for word in _WORDS:
        yield _named_event(
            "content_block_delta", index=0, delta={"type": "text_delta", "text": word}
        )
        await asyncio.sleep(_SECONDS_A_WORD)
    yield _named_event("content_block_stop", index=0)
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    yield _named_event("message_delta", delta=end, usage={"output_tokens": COMPLETION_TOKENS})
    yield _named_event("message_stop")


def _named_event(name: str, **content: object) -> str:
    return f"event: {name}\n{_event({'type': name, **content})}"


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
