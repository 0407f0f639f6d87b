"""A spool that no gateway uses, by hand: what waits in it, and bringing that to Kafka."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from pydantic import Field, SecretStr

from producer_gateway.journal import SpoolError
from producer_gateway.metrics import Metrics
from producer_gateway.rows import headers_of
from producer_gateway.salvage import incoming
from producer_gateway.settings import Settings
from producer_gateway.storage import Storage
from runtime.environment import read
from schemas import headers as names
from schemas.topics import load_topics

_EVERY_S: Final = 0.1
_CLOSE_S: Final = 15.0
WAITING: Final = ("place", "stored", "topic", "run", "call", "bytes", "refused")
"""The names of what is shown of a record that waits."""
_LIST: Final = (
    "SELECT sequence, stored_at, refused, CAST(topic AS BLOB), key, headers, length(value) "
    "FROM records ORDER BY sequence LIMIT ?"
)


class DrainSettings(Settings):
    """A gateway's settings, of which draining needs no token."""

    ingest_token: SecretStr = Field(default=SecretStr("-" * 64), alias="BILLING_INGEST_TOKEN")


class Left(msgspec.Struct, frozen=True):
    """What a drain came to: records taken to Kafka, still waiting, and refused by Kafka as such."""

    taken: int
    waiting: int
    refused: int
    why: str | None


def waiting(path: Path, limit: int) -> list[dict[str, Any]]:
    """Return the oldest records of the spool at `path`, by the names of what is shown; no content.

    A gateway must not use it meanwhile. Raises `sqlite3.Error`.
    """
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as opened:
        return [_row(found) for found in opened.execute(_LIST, (limit,))]


def _row(found: tuple[Any, ...]) -> dict[str, Any]:
    sequence, stored_at, refused, topic, key, headers, size = found
    call = dict(headers_of(headers)).get(names.CALL_KEY, b"")
    return {
        "place": sequence,
        "stored": datetime.fromtimestamp(stored_at, UTC),
        "topic": topic.decode("utf-8", "replace"),
        "run": key.decode("utf-8", "replace"),
        "call": call.decode("utf-8", "replace"),
        "bytes": size,
        "refused": refused,
    }


def drain(directory: Path, seconds: float) -> Left:
    """Bring what waits in `directory` to Kafka, as a gateway does, for at most `seconds`.

    What is not taken stays. Raises `SpoolError` where the spool cannot be opened, as while a
    gateway uses it, and `ConfigurationError` and `KafkaException` where the settings are wrong.
    """
    settings = read(DrainSettings, "GATEWAY_", "GATEWAY_URL", "GATEWAY_METRICS_URL")
    return asyncio.run(_drain(settings.model_copy(update={"spool_dir": directory}), seconds))


async def _drain(settings: Settings, seconds: float) -> Left:
    ended = list[str]()
    topics = load_topics(settings.billing_topic_prefix)
    storage = Storage(settings, topics, Metrics(), ended.append)
    spool = storage.spool
    if spool is None:
        raise SpoolError("no directory of a spool is given")
    before, why = spool.records, None
    try:
        async with asyncio.timeout(seconds):
            while (spool.records or incoming(spool.path)) and not ended:
                before = max(before, spool.records)
                await asyncio.sleep(_EVERY_S)
    except TimeoutError:
        away = storage.away()
        why = f"Kafka: {away}" if away else f"{seconds:g} seconds were not enough"
    finally:
        left, refused = spool.records, spool.set_aside
        await storage.close(_CLOSE_S)
    return Left(before - left - refused, left, refused, ended[0] if ended else why)
