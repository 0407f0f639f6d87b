"""Calls LiteLLM with the SDK of Anthropic: a whole answer, and a stream of a sub-agent.

python with_anthropic.py RUN [ATTEMPT]
"""

import os
import sys

import anthropic

from billing_stream_client import Run

MODEL = "real-claude-sonnet"
ASK = "Say something small."


def plan(run: Run, client: anthropic.Anthropic) -> None:
    """Ask for a whole answer; `with_raw_response` keeps its headers."""
    call = run.call(graph="poems", agent="planner")
    try:
        raw = client.messages.with_raw_response.create(
            model=MODEL,
            max_tokens=64,
            messages=[{"role": "user", "content": ASK}],
            extra_headers=call.headers,
        )
    except anthropic.APIStatusError as error:
        call.answered(error.response.headers, model=MODEL)
        raise
    message = raw.parse()
    call.answered(
        raw.headers,
        response_id=message.id,
        model=MODEL,
        tokens_in=message.usage.input_tokens,
        tokens_out=message.usage.output_tokens,
    )


def write(run: Run, client: anthropic.Anthropic) -> None:
    """Ask for a stream, which has its headers as soon as it begins."""
    call = run.call(
        graph="poems", agent="poet", parent_agent="planner", tool_call="call_1", tags=["night"]
    )
    with client.messages.stream(
        model=MODEL,
        max_tokens=64,
        messages=[{"role": "user", "content": ASK}],
        extra_headers=call.headers,
    ) as stream:
        call.answered(stream.response.headers, model=MODEL)
        message = stream.get_final_message()
    call.answered(
        response_id=message.id,
        tokens_in=message.usage.input_tokens,
        tokens_out=message.usage.output_tokens,
    )


def main(run_id: str, attempt: str = "0") -> None:
    """Make both calls in one run."""
    run = Run(
        run_id,
        attempt=int(attempt),
        executor="with_anthropic",
        account="acme",
        tags=["example"],
        gateway_url=os.environ["GATEWAY_URL"],
        token=os.environ["BILLING_INGEST_TOKEN"],
    )
    url, key = os.environ["LITELLM_URL"], os.environ["LITELLM_API_KEY"]
    with run, anthropic.Anthropic(base_url=url, auth_token=key) as client:
        plan(run, client)
        write(run, client)
    print(run.posted)


if __name__ == "__main__":
    main(*sys.argv[1:])
