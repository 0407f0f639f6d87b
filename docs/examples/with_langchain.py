"""Calls LiteLLM with LangChain: a whole answer, and a stream of a sub-agent.

python with_langchain.py RUN [ATTEMPT]
"""

import os
import sys

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from billing_stream_client import Call, Run

MODEL = "real-gpt-4o-mini"
ASK = "Say something small."


def plan(run: Run, model: ChatOpenAI) -> None:
    """Ask for a whole answer."""
    call = run.call(graph="poems", agent="planner")
    answer = model.invoke(ASK, extra_headers=call.headers)
    tell(call, answer)


def write(run: Run, model: ChatOpenAI) -> None:
    """Ask for a stream; the sum of its chunks is what a whole answer would have been."""
    call = run.call(
        graph="poems", agent="poet", parent_agent="planner", tool_call="call_1", tags=["night"]
    )
    answer = AIMessageChunk(content="")
    for chunk in model.stream(ASK, extra_headers=call.headers):
        answer += chunk
    tell(call, answer)


def tell(call: Call, answer: AIMessage) -> None:
    """Tell of an answer; `include_response_headers` has put its headers into the metadata."""
    metadata, usage = answer.response_metadata, answer.usage_metadata
    call.answered(
        metadata["headers"],
        response_id=metadata.get("id"),  # `answer.id` is one of LangChain's own.
        model=MODEL,
        tokens_in=usage and usage["input_tokens"],
        tokens_out=usage and usage["output_tokens"],
    )


def main(run_id: str, attempt: str = "0") -> None:
    """Make both calls in one run."""
    run = Run(
        run_id,
        attempt=int(attempt),
        executor="with_langchain",
        account="acme",
        tags=["example"],
        gateway_url=os.environ["GATEWAY_URL"],
        token=os.environ["BILLING_INGEST_TOKEN"],
    )
    model = ChatOpenAI(
        model=MODEL,
        base_url=f"{os.environ['LITELLM_URL']}/v1",
        api_key=SecretStr(os.environ["LITELLM_API_KEY"]),
        stream_usage=True,
        include_response_headers=True,
    )
    with run:
        plan(run, model)
        write(run, model)
    print(run.posted)


if __name__ == "__main__":
    main(*sys.argv[1:])
