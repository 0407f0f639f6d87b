"""What one would write in an afternoon: callbacks over HTTP to Kafka, with FastAPI and orjson.

Reads the list, produces each callback under its run's id, and answers 202 when Kafka has all of
them. No spool, no dead letters, one bad byte refuses the whole list, and numbers are read and
written again. `python -m tests.bench.alternatives.fastapi_gateway`
"""

import asyncio
import os
import secrets
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

import orjson
import uvicorn
from confluent_kafka import KafkaError, Message, Producer
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

TOPIC: Final = os.environ.get("BILLING_TOPIC_PREFIX", "") + "billing.callbacks.v1"
TOKEN: Final = os.environ.get("BILLING_INGEST_TOKEN", "")


class Delivery:
    """Counts the delivery reports of one request."""

    def __init__(self, count: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._left = count
        self._failed: KafkaError | None = None
        self.done: asyncio.Future[KafkaError | None] = self._loop.create_future()

    def report(self, error: KafkaError | None, _message: Message) -> None:
        """Take one report, in the thread that polls."""
        self._failed = error or self._failed
        self._left -= 1
        if not self._left:
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        if not self.done.done():
            self.done.set_result(self._failed)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """A producer, and a thread that takes its reports."""
    app.state.producer = producer = Producer({
        "bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"],
        "acks": "all",
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "compression.type": "lz4",
        "linger.ms": 5,
        "message.max.bytes": 10 * 1024 * 1024,
        "queue.buffering.max.messages": 0,
    })  # fmt: skip
    stop = threading.Event()

    def poll() -> None:
        while not stop.is_set():
            producer.poll(0.1)

    thread = threading.Thread(target=poll)
    thread.start()
    yield
    producer.flush(10)
    stop.set()
    thread.join()


app = FastAPI(lifespan=lifespan)


async def authorized(
    credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())],
) -> None:
    """Refuse who has not the token."""
    if not secrets.compare_digest(credentials.credentials.encode(), TOKEN.encode()):
        raise HTTPException(401)


def run_id(event: dict[str, Any]) -> str:
    """The run of a call, else the call."""
    spend = event["metadata"]["spend_logs_metadata"] or {}
    return str(spend.get("run_id") or event["id"])


@app.post("/v1/callbacks/litellm", status_code=202, dependencies=[Depends(authorized)])
async def callbacks(request: Request) -> dict[str, int]:
    """Take a list of callbacks."""
    try:
        events = orjson.loads(await request.body())
    except orjson.JSONDecodeError as broken:
        raise HTTPException(400, str(broken)) from broken
    delivery = Delivery(len(events))
    for event in events:
        value, key = orjson.dumps(event), run_id(event)
        app.state.producer.produce(TOPIC, value, key, on_delivery=delivery.report)
    if error := await delivery.done:
        raise HTTPException(503, error.str())
    return {"accepted": len(events)}


@app.get("/readyz")
async def ready() -> dict[str, str]:
    """Say that it serves."""
    return {"status": "ready"}


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ["GATEWAY_PORT"]),
        loop="uvloop",
        http="httptools",
        access_log=False,
    )
