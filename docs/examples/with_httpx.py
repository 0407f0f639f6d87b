"""Calls LiteLLM with httpx: a whole answer, and a stream of a sub-agent.

python with_httpx.py RUN [ATTEMPT]
"""

import json
import os
import sys
from typing import Any

import httpx

from billing_stream_client import Run

ASK: dict[str, Any] = {
    "model": "real-gpt-4o-mini",
    "messages": [{"role": "user", "content": "Say something small."}],
}


def plan(run: Run, proxy: httpx.Client) -> None:
    """Ask for a whole answer."""
    call = run.call(graph="poems", agent="planner")
    answer = proxy.post("/v1/chat/completions", json=ASK, headers=call.headers)
    call.answered(answer.headers)  # Of an error as well: it may have cost something.
    said = answer.raise_for_status().json()
    call.answered(
        response_id=said["id"],
        model=ASK["model"],
        tokens_in=said["usage"]["prompt_tokens"],
        tokens_out=said["usage"]["completion_tokens"],
    )


def write(run: Run, proxy: httpx.Client) -> None:
    """Ask for a stream. Its headers come first, its number of tokens last."""
    call = run.call(
        graph="poems", agent="poet", parent_agent="planner", tool_call="call_1", tags=["night"]
    )
    ask = {**ASK, "stream": True, "stream_options": {"include_usage": True}}
    with proxy.stream("POST", "/v1/chat/completions", json=ask, headers=call.headers) as answer:
        call.answered(answer.headers, model=ASK["model"])
        answer.raise_for_status()
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                chunk = json.loads(line.removeprefix("data: "))
                usage = chunk.get("usage") or {}
                call.answered(
                    response_id=chunk["id"],
                    tokens_in=usage.get("prompt_tokens"),
                    tokens_out=usage.get("completion_tokens"),
                )


def main(run_id: str, attempt: str = "0") -> None:
    """Make both calls in one run."""
    run = Run(
        run_id,
        attempt=int(attempt),
        executor="with_httpx",
        account="acme",
        tags=["example"],
        gateway_url=os.environ["GATEWAY_URL"],
        token=os.environ["BILLING_INGEST_TOKEN"],
    )
    key = {"Authorization": f"Bearer {os.environ['LITELLM_API_KEY']}"}
    with run, httpx.Client(base_url=os.environ["LITELLM_URL"], headers=key, timeout=60) as proxy:
        plan(run, proxy)
        write(run, proxy)
    print(run.posted)


if __name__ == "__main__":
    main(*sys.argv[1:])
