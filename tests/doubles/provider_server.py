"""What stands in for the providers of models: OpenAI's routes and Anthropic's."""

import json
from typing import Any, Final

from tests.doubles.json_server import Asked, JsonServer, Said

TEXT: Final = "Small paper boats sail."
USAGE: Final = {"prompt_tokens": 8, "completion_tokens": 4, "total_tokens": 12}
OUTPUT: Final = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": TEXT, "annotations": []}],
}


class ProviderServer(JsonServer):
    """Answers with the same text whatever is asked; a model whose name ends in `-err500` fails."""

    def answer(self, asked: Asked) -> Said:
        """Answer as a provider does."""
        if asked.body["model"].endswith("-err500"):
            error = {"message": "The provider fails on purpose.", "type": "server_error"}
            return Said(500, {"error": error})
        route = asked.path.removeprefix("/v1").partition("?")[0]
        if asked.body.get("stream"):
            return Said(200, _chunks(asked.body["model"]))
        return Said(200, _ANSWERS[route] | {"model": asked.body["model"]})


def _chunks(model: str) -> str:
    frame = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": model,
    }
    delta = {"index": 0, "delta": {"role": "assistant", "content": TEXT}, "finish_reason": None}
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    chunks: list[dict[str, Any]] = [
        {"choices": [delta]},
        {"choices": [end]},
        {"choices": [], "usage": USAGE},
    ]
    lines = [f"data: {json.dumps(frame | chunk)}\n\n" for chunk in chunks]
    return "".join([*lines, "data: [DONE]\n\n"])


_ANSWERS: Final[dict[str, dict[str, Any]]] = {
    "/chat/completions": {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": TEXT},
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
    },
    "/completions": {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "choices": [{"index": 0, "text": TEXT, "finish_reason": "stop", "logprobs": None}],
        "usage": USAGE,
    },
    "/embeddings": {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}],
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
    },
    "/responses": {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "output": [OUTPUT],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 8,
            "output_tokens": 4,
            "total_tokens": 12,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    },
    "/messages": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": TEXT}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 8, "output_tokens": 4},
    },
}
