"""How Kafka Connect is told what to do: the records' schema, the worker, the connector."""

import json
from pathlib import Path
from typing import Any, Final

from psycopg.conninfo import conninfo_to_dict

from tests.bench.processor import DEFAULT_PORT

HERE: Final = Path(__file__).parent / "alternatives" / "connect"
AMOUNTS: Final = ("response_cost_usd", "charged_usd")
_BATCH: Final = 3_000
_KINDS: Final = {
    **dict.fromkeys(("attempt", "latency_ms", "ttft_ms"), "int32"),
    **dict.fromkeys(("charged_credits", "tokens_in", "tokens_out"), "int64"),
    **dict.fromkeys(("tokens_cached_in", "tokens_reasoning"), "int64"),
    "stream": "boolean",
}
_LOGICAL: Final = {
    "id": "io.debezium.data.Uuid",
    "occurred_at": "io.debezium.time.ZonedTimestamp",
}


def columns() -> list[str]:
    """The columns of the table, in its order."""
    table = (HERE / "flat_receipts.sql").read_text("utf-8").partition("flat_receipts (")[2]
    lines = table.partition("\n);")[0].strip().splitlines()
    return [line.split()[0] for line in lines]


def schema() -> dict[str, Any]:
    """The records' schema, as the JSON converter is told it."""
    return {"type": "struct", "fields": [_field(name) for name in columns()]}


def _field(name: str) -> dict[str, Any]:
    kind = _KINDS.get(name, "string")
    made: dict[str, Any] = {"field": name, "type": kind, "optional": name != "id"}
    if name in AMOUNTS:
        decimal = "org.apache.kafka.connect.data.Decimal"
        made |= {"type": "bytes", "name": decimal, "parameters": {"scale": "12"}}
    elif name in _LOGICAL:
        made["name"] = _LOGICAL[name]
    return made


def settings(bootstrap: str, directory: Path, url: str, name: str, port: int) -> list[Path]:
    """Write the properties of a worker and of its connector; returns both files.

    Args:
        bootstrap: of the broker.
        directory: takes the files, and what the worker keeps.
        url: of the database.
        name: of connector and topic.
        port: of the worker's REST interface.
    """
    worker = {
        "bootstrap.servers": bootstrap,
        "listeners": f"http://127.0.0.1:{port}",
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schema.content": json.dumps(schema()),
        "offset.storage.file.filename": str(directory / "offsets"),
        "offset.flush.interval.ms": "1000",
    }
    files = list[Path]()
    for title, properties in (("worker", worker), ("connector", _connector(url, name))):
        files.append(directory / f"{title}.properties")
        text = "".join(f"{key}={value}\n" for key, value in properties.items())
        files[-1].write_text(text, "utf-8")
    return files


def _connector(url: str, name: str) -> dict[str, str]:
    place = conninfo_to_dict(url)
    where = f"{place['host']}:{place.get('port', DEFAULT_PORT)}/{place['dbname']}"
    return {
        "name": name,
        "topics": name,
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": "1",
        "connection.url": f"jdbc:postgresql://{where}?reWriteBatchedInserts=true",
        "connection.username": str(place.get("user") or ""),
        "connection.password": str(place.get("password") or ""),
        "insert.mode": "upsert",
        "primary.key.mode": "record_value",
        "primary.key.fields": "id",
        "schema.evolution": "none",
        "collection.name.format": "billing.flat_receipts",
        "dialect.postgres.unnest.insert.enabled": "true",
        "batch.size": str(_BATCH),
        "consumer.override.max.poll.records": str(_BATCH),
        "consumer.override.auto.offset.reset": "earliest",
    }
