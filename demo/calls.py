"""The calls of the demo: one of each kind, made through the proxy as any client would."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from demo.signing import agent, renamed

_CALL_SECONDS = 60
_COST_HEADER = "x-litellm-response-cost"
HELD = "callback-held"
"""The tag of a call whose callback stays in the proxy."""

DEAR = "real-dear"
"""The model of the prepaid calls, which nobody else calls."""
DEAR_AT_PROVIDER = "acme-dear-1"
PREPAID_CALLS = 5
AFFORDED_CALLS = 3
_MOST_TOKENS = 4
"""As many as every answer has: what a call may cost is little more than what it costs."""

Outcome = Literal["receipt", "deferred", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request to the proxy and what has to become of it.

    `metadata` is the value of the header `x-litellm-spend-logs-metadata`, sent as it is. The
    callback of one that is `held` stays in the proxy, which is to be killed. One that is `forged`
    names another agent than the one that was signed.
    """

    kind: str
    model: str
    account: str
    stream: bool = False
    metadata: str = ""
    cached: bool = False
    held: bool = False
    forged: bool = False
    max_tokens: int | None = None
    outcome: Outcome = "receipt"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the client saw.

    `cost` is the text of LiteLLM's cost header, None without one; `message` that of an error.
    """

    call: Call
    status: int
    call_id: str
    cost: str | None
    message: str = ""


def plan() -> tuple[Call, ...]:
    """Return the calls of one demo, under run ids of their own; the last one's callback is held.

    Every streamed model is also called without streaming: that answer's cost header is what the
    receipt of the streamed call, which has no such header, is compared with.
    """
    mark = secrets.token_hex(3)
    trip, poem = f"trip-{mark}", f"poem-{mark}"
    priced, custom, tiny = "real-gpt-4o-mini", "real-custom", "real-tiny"
    writer = agent(trip, "writer", "researcher", account="acme")
    return (
        Call(kind="plain, no run", model=priced, account="acme"),
        Call(kind="streamed, no run", model=priced, account="acme", stream=True),
        Call(kind="run, planner", model=custom, account="acme", metadata=agent(trip)),
        Call(
            kind="run, sub-agent 1",
            model=custom,
            account="acme",
            stream=True,
            metadata=agent(trip, "researcher", account="acme"),
        ),
        Call(
            kind="run, sub-agent 1",
            model="mock-claude-sonnet",
            account="acme",
            # A header that was signed for the writer, in another's hands.
            metadata=renamed(agent(trip, "writer", account="acme"), "researcher"),
            forged=True,
        ),
        Call(
            kind="run, sub-agent 2",
            model=custom,
            account="acme",
            stream=True,
            metadata=writer,
        ),
        Call(kind="tiny price", model=tiny, account="globex", metadata=agent(poem)),
        Call(
            kind="tiny, streamed", model=tiny, account="globex", stream=True, metadata=agent(poem)
        ),
        Call(
            kind="tiny, streamed", model=tiny, account="globex", stream=True, metadata=agent(poem)
        ),
        Call(kind="asked once", model=priced, account="globex", cached=True),
        Call(kind="again, from cache", model=priced, account="globex", cached=True),
        Call(kind="free model", model="real-free", account="globex"),
        Call(kind="unknown price", model="real-unpriced", account="globex", outcome="deferred"),
        Call(kind="provider fails", model="real-err500", account="globex", outcome="skipped"),
        # LiteLLM posts this one as a bare `Infinity`: the whole body is then no JSON.
        Call(kind="header 1e400", model=tiny, account="mallory", metadata='{"a": 1e400}'),
        Call(kind="its neighbour", model=custom, account="acme"),
        Call(
            kind="callback lost",
            model=custom,
            account="acme",
            stream=True,
            metadata=writer,
            held=True,
        ),
    )


def prepaid(account: str) -> tuple[tuple[Call, ...], tuple[Call, ...]]:
    """Return the calls that a prepaid account can afford, and those that are to be refused."""
    made = tuple(
        Call(
            kind=f"prepaid {number}",
            model=DEAR,
            account=account,
            max_tokens=_MOST_TOKENS,
            outcome="receipt" if number <= AFFORDED_CALLS else "skipped",
        )
        for number in range(1, PREPAID_CALLS + 1)
    )
    return made[:AFFORDED_CALLS], made[AFFORDED_CALLS:]


def make(calls: tuple[Call, ...], url: str, key: str) -> Iterator[Answer]:
    """Make the calls one after the other and yield what the client sees of each.

    Args:
        calls: what to call.
        url: the proxy, for example http://127.0.0.1:4000.
        key: the proxy's key.

    Raises:
        httpx.HTTPError: when the proxy does not answer at all.
    """
    with httpx.Client(
        base_url=url,
        headers={"Authorization": f"Bearer {key}"},
        timeout=_CALL_SECONDS,
        trust_env=False,
    ) as client:
        for call in calls:
            yield _make(client, call)


def _make(client: httpx.Client, call: Call) -> Answer:
    body: dict[str, Any] = {
        "model": call.model,
        "messages": [{"role": "user", "content": "Say something small."}],
        "user": call.account,
        "stream": call.stream,
    }
    if call.max_tokens:
        body["max_tokens"] = call.max_tokens
    if call.cached:
        body["cache"] = {"use-cache": True}
    headers = {"x-litellm-spend-logs-metadata": call.metadata} if call.metadata else {}
    if call.held:
        headers["x-litellm-tags"] = HELD
    answer = client.post("/v1/chat/completions", json=body, headers=headers)
    return Answer(
        call=call,
        status=answer.status_code,
        call_id=answer.headers.get("x-litellm-call-id", ""),
        cost=answer.headers.get(_COST_HEADER),
        message=_message(answer) if answer.is_error else "",
    )


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text
