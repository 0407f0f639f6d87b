"""What nobody may read: prompts, answers, keys and tokens, through every way that a call can go.

Each of them holds a canary. Gateway and consumer log all that they can (`debug`), and no canary is
in their output, in metrics, probes, error answers, receipt events or the tables that people see.
"""

import json
import os
from pathlib import Path

from schemas.topics import Topics
from tests.clients import fetching
from tests.inputs import captures
from tests.inputs.callbacks import element, payload, usage_unit
from tests.processes import room
from tests.processes.consuming import RECEIPTS, Consuming
from tests.processes.gateway import CALLBACKS_PATH, Gateway
from tests.processes.process import free_port
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
CANARY = "canary-8d1f"
TOKEN = f"{CANARY}-token-{'0' * 32}"
WRONG = f"{CANARY}-wrong-{'0' * 32}"
AUTHORIZED = {"authorization": f"Bearer {TOKEN}", "x-odd": CANARY, "content-type": CANARY}
MAX_BODY_BYTES = 200_000
NOTHING: dict[str, str] = {}


def secret(**fields: object) -> bytes:
    """A callback with a canary wherever content or a secret of the caller may stand."""
    text = f"{CANARY} text"
    metadata = {
        "spend_logs_metadata": {"run_id": "run-1", "note": text},
        "user_api_key_hash": f"{CANARY}-hash",
        "user_api_key_request_route": text,
        "requester_metadata": {"headers": {"authorization": text, CANARY: CANARY}},
        "requester_custom_headers": {"x-secret": text},
        "requester_ip_address": text,
    }
    return element(
        **{
            "messages": [{"role": "user", "content": text}],
            "response": {
                "choices": [
                    {
                        "message": {
                            "content": text,
                            "tool_calls": [{"function": {"name": "f", "arguments": text}}],
                        }
                    }
                ]
            },
            "model_parameters": {"tools": [text], "api_key": text},
            "error_information": {"traceback": text, "error_message": text},
            "error_str": text,
            "api_base": text,
            "metadata": metadata,
            CANARY: CANARY,
            **fields,
        }
    )


def ways() -> dict[str, tuple[str, dict[str, str], bytes, int]]:
    """What is posted, by the way that it takes: path, headers, body, status of the answer."""
    broken = secret(id="broken")[:-9] + CANARY.encode()
    unit = usage_unit(executor="tests", note=CANARY)
    billed = payload()["response_cost"]
    posts = {
        "accepted": captures.array([secret(id="accepted")]),
        "again": captures.array([secret(id="accepted")]),
        "contradicted": captures.array([secret(id="accepted", response_cost=billed * 2)]),
        "deferred": captures.array([secret(id="deferred", response_cost=None)]),
        "failed": captures.array([secret(id="failed", status="failure", response_cost=0)]),
        "lenient": captures.array([secret(id="lenient").replace(b"120", b"Infinity", 1)]),
        "unreadable": b"[" + broken + b"]",
        "text": b'["' + CANARY.encode() + b'"]',
        "no id": captures.array([secret(id=None, litellm_call_id=None)]),
        "cost is text": captures.array([secret(id="text", response_cost=CANARY)]),
        "status is text": captures.array([secret(id="status", status=[CANARY])]),
        "negative": captures.array([secret(id="negative", response_cost=-1)]),
        "odd types": captures.array([secret(id="odd", model=[CANARY], startTime=CANARY)]),
        "nul": captures.array([secret(id="nul", model_group=f"m\0{'x' * 20}")]),
        "beyond the database": captures.array(
            [secret(id="range", prompt_tokens=10**30, startTime=1e300, endTime=1e300)]
        ),
    }
    found = {name: (CALLBACKS_PATH, AUTHORIZED, body, 202) for name, body in posts.items()}
    one = posts["accepted"]
    return found | {
        "wrong token": (CALLBACKS_PATH, {"authorization": f"Bearer {WRONG}"}, one, 401),
        "odd scheme": (CALLBACKS_PATH, {"authorization": f"{CANARY} {WRONG}"}, one, 401),
        "no token": (CALLBACKS_PATH, NOTHING, one, 401),
        "too large": (CALLBACKS_PATH, AUTHORIZED, one + b" " * MAX_BODY_BYTES, 413),
        "encoded": (CALLBACKS_PATH, {**AUTHORIZED, "content-encoding": CANARY}, one, 415),
        "unit": ("/v1/usage-units", AUTHORIZED, json.dumps(unit).encode(), 422),
        "unit value": (
            *("/v1/usage-units", AUTHORIZED),
            *(json.dumps(usage_unit(finished_at=CANARY, unit_id=CANARY)).encode(), 422),
        ),
        "unit text": ("/v1/usage-units", AUTHORIZED, one[:-5] + CANARY.encode(), 422),
        "elsewhere": ("/v1/other", AUTHORIZED, one, 404),
    }


def shown(environment: dict[str, str], *command: str) -> str:
    """What a command of the consumer prints."""
    done = room.run({**os.environ, **environment}, *command)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def answers(gateway: Gateway, spooling: Gateway) -> dict[str, str]:
    """Post everything to both; what they answer."""
    seen: dict[str, str] = {}
    for name, (path, headers, body, status) in ways().items():
        answer = gateway.post(body, path, headers)
        assert answer.status_code == status, (name, answer.text)
        seen[f"answer: {name}"] = answer.text + str(answer.headers)
        if status == 202:
            spooled = spooling.post(body, path, headers)
            assert (spooled.status_code, spooled.json()["spooled"]) == (202, 1), name
            seen[f"spooled answer: {name}"] = spooled.text
    return seen


def printed(consuming: Consuming) -> dict[str, str]:
    """What the consumer's commands print."""
    environment = {
        "DATABASE_URL": consuming.database_url,
        "KAFKA_BOOTSTRAP_SERVERS": consuming.bootstrap,
        "BILLING_TOPIC_PREFIX": consuming.prefix,
        "CONSUMER_GROUP": consuming.group,
        "CONSUMER_LOG_LEVEL": "debug",
    }
    return {
        "report": shown(environment, "report"),
        "deferred list": shown(environment, "deferred", "list", "--settled"),
        "replay": shown(environment, "replay"),
        "dead letters": shown(environment, "dead-letters", "list"),
        "dead letters as JSON": shown(environment, "dead-letters", "list", "--json"),
    }


def events(consuming: Consuming) -> dict[str, str]:
    """What subscribers of the receipts read."""
    return {
        f"event {event.offset}": repr((event.key, event.value, event.headers))
        for event in consuming.topics.since(RECEIPTS, {})
    }


def probes(name: str, url: str) -> dict[str, str]:
    """What machines read from a process."""
    return {
        f"{name} {path}": fetching.get(url + path).text
        for path in ("/metrics", "/readyz", "/livez")
    }


def test_NO_CONTENT_IN_RECEIPTS_nor_in_anything_that_people_or_machines_see(
    kafka: str, topics: Topics, topic_prefix: str, migrated_database_url: str, tmp_path: Path
) -> None:
    assert topics
    settings = {
        "BILLING_INGEST_TOKEN": TOKEN,
        "GATEWAY_LOG_LEVEL": "debug",
        "GATEWAY_MAX_BODY_BYTES": str(MAX_BODY_BYTES),
    }
    away = tmp_path / "away"
    away.mkdir()
    spooling = Gateway(
        f"127.0.0.1:{free_port()}",
        topic_prefix,
        away,
        **settings,
        GATEWAY_SPOOL_DIR=str(tmp_path / "spool"),
    )
    gateway = Gateway(kafka, topic_prefix, tmp_path, **settings)
    consuming = Consuming(kafka, migrated_database_url, topic_prefix, tmp_path)
    seen: dict[str, str] = {}
    try:
        spooling.start()
        gateway.start()
        gateway.ready()
        member = consuming.member(CONSUMER_LOG_LEVEL="debug")
        seen |= answers(gateway, spooling)
        consuming.all_committed()
        eventually(consuming.tables.conflicts, "the conflict")
        assert {row["response_id"] for row in consuming.tables.receipts()} >= {
            "accepted",
            "lenient",
        }
        deferred = {row["response_id"] for row in consuming.tables.deferred()}
        assert deferred == {"deferred", "text", "negative"}
        assert len(consuming.dead_letters()) >= 4

        seen |= printed(consuming) | events(consuming)
        for name, url in {
            "gateway": gateway.metrics_url,
            "spooling gateway": spooling.metrics_url,
            "consumer": member.metrics_url,
        }.items():
            seen |= probes(name, url)
    finally:
        for one in (gateway, spooling):
            one.stop()
        consuming.close()
    for log in tmp_path.rglob("*.log"):
        seen[str(log)] = log.read_text(errors="replace")
    leaks = {where: text for where, text in seen.items() if CANARY in text}
    assert not leaks, {where: _around(text) for where, text in leaks.items()}


def _around(text: str) -> str:
    at = text.index(CANARY)
    return text[max(0, at - 300) : at + 100]
