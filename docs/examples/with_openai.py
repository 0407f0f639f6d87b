"""Calls LiteLLM with the SDK of OpenAI: a whole answer, and a stream of a sub-agent.

python with_openai.py RUN [ATTEMPT]
"""

import os
import sys

import openai

from billing_stream_client import Run

MODEL = "real-gpt-4o-mini"
ASK = "Say something small."


def plan(run: Run, client: openai.OpenAI) -> None:
    """Ask for a whole answer; `with_raw_response` keeps its headers."""
    call = run.call(graph="poems", agent="planner")
    try:
        raw = client.chat.completions.with_raw_response.create(
            model=MODEL, messages=[{"role": "user", "content": ASK}], extra_headers=call.headers
        )
    except openai.APIStatusError as error:
        call.answered(error.response.headers, model=MODEL)
        raise
    answer = raw.parse()
    usage = answer.usage
    call.answered(
        raw.headers,
        response_id=answer.id,
        model=MODEL,
        tokens_in=usage and usage.prompt_tokens,
        tokens_out=usage and usage.completion_tokens,
    )


def write(run: Run, client: openai.OpenAI) -> None:
    """Ask for a stream, which has its headers as soon as it begins."""
    call = run.call(
        graph="poems", agent="poet", parent_agent="planner", tool_call="call_1", tags=["night"]
    )
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": ASK}],
        stream=True,
        stream_options={"include_usage": True},
        extra_headers=call.headers,
    )
    call.answered(stream.response.headers, model=MODEL)
    for chunk in stream:
        call.answered(response_id=chunk.id)
        if chunk.usage:
            call.answered(
                tokens_in=chunk.usage.prompt_tokens, tokens_out=chunk.usage.completion_tokens
            )


def main(run_id: str, attempt: str = "0") -> None:
    """Make both calls in one run."""
    run = Run(
        run_id,
        attempt=int(attempt),
        executor="with_openai",
        account="acme",
        tags=["example"],
        gateway_url=os.environ["GATEWAY_URL"],
        token=os.environ["BILLING_INGEST_TOKEN"],
    )
    url, key = os.environ["LITELLM_URL"], os.environ["LITELLM_API_KEY"]
    with run, openai.OpenAI(base_url=f"{url}/v1", api_key=key) as client:
        plan(run, client)
        write(run, client)
    print(run.posted)


if __name__ == "__main__":
    main(*sys.argv[1:])
