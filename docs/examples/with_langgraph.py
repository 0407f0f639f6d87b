"""Calls LiteLLM from a graph of LangGraph: two nodes know the run, a third one its `user` alone.

python with_langgraph.py RUN [ATTEMPT]
"""

import asyncio
import os
import sys
from typing import TypedDict

from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from pydantic import SecretStr

from billing_stream_client import Call, Run

MODEL = "real-gpt-4o-mini"
ASK = "Say something small."


class State(TypedDict):
    """What the nodes hand on."""

    text: str


class Nodes:
    """The nodes of one run.

    `configurable` carries the user through the graph: `run/attempt`, by which billing finds the run
    of a call that has no headers.
    """

    def __init__(self, run: Run, model: ChatOpenAI) -> None:
        self._run, self._model = run, model

    async def plan(self, state: State, config: RunnableConfig) -> State:
        """Ask as the planner."""
        call = self._run.call(graph="poems", agent="planner")
        return await self._ask(call, state, config, call.headers)

    async def write(self, state: State, config: RunnableConfig) -> State:
        """Ask as a sub-agent of the planner."""
        call = self._run.call(
            graph="poems", agent="poet", parent_agent="planner", tool_call="call_1", tags=["night"]
        )
        return await self._ask(call, state, config, call.headers)

    async def sum_up(self, state: State, config: RunnableConfig) -> State:
        """Ask as a node does that sets no headers."""
        return await self._ask(self._run.call(), state, config, {})

    async def _ask(
        self, call: Call, state: State, config: RunnableConfig, headers: dict[str, str]
    ) -> State:
        user = config["configurable"]["user"]
        answer = await self._model.ainvoke(
            f"{ASK} {state['text']}", user=user, extra_headers=headers
        )
        usage = answer.usage_metadata
        call.answered(
            answer.response_metadata["headers"],
            response_id=answer.response_metadata["id"],
            model=MODEL,
            tokens_in=usage and usage["input_tokens"],
            tokens_out=usage and usage["output_tokens"],
        )
        return {"text": str(answer.content)}


async def main(run_id: str, attempt: str = "0") -> None:
    """Run the graph once."""
    run = Run(
        run_id,
        attempt=int(attempt),
        executor="with_langgraph",
        tags=["example"],
        gateway_url=os.environ["GATEWAY_URL"],
        token=os.environ["BILLING_INGEST_TOKEN"],
    )
    model = ChatOpenAI(
        model=MODEL,
        base_url=f"{os.environ['LITELLM_URL']}/v1",
        api_key=SecretStr(os.environ["LITELLM_API_KEY"]),
        include_response_headers=True,
    )
    nodes, graph = Nodes(run, model), StateGraph(State)
    graph.add_node("plan", nodes.plan)
    graph.add_node("write", nodes.write)
    graph.add_node("sum_up", nodes.sum_up)
    graph.add_edge(START, "plan")
    graph.add_edge("plan", "write")
    graph.add_edge("write", "sum_up")
    graph.add_edge("sum_up", END)
    async with run:
        await graph.compile().ainvoke({"text": ""}, config={"configurable": {"user": run.end_user}})
    print(run.posted)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
