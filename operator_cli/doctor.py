"""The command `doctor`: asks every part of an installation whether it is set up right."""

import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Final

import httpx
import typer
from confluent_kafka import Consumer, KafkaException, TopicPartition

from charging.decision import SELF_TEST_MODEL
from ledger import migration
from ledger.healing import LedgerError
from operator_cli import diagnosis
from operator_cli.cluster import Cluster
from operator_cli.diagnosis import Answer, Finding, State
from operator_cli.settings import Settings
from operator_cli.tables import Csv, Form, Json, form_of, remark, show
from operator_cli.terminal import fail, kafka, settings
from operator_cli.trial import ACCOUNT, trial
from runtime.kafka import ASK_SECONDS, Administrator, committed, reason
from runtime.rows import Listing
from schemas.topics import load_topics

_PATH: Final = "/v1/callbacks/litellm"
_NAMES: Final = ("part", "state", "found", "what to do")
_SECONDS: Final = 10.0
_UNSET: Final = "not asked: {} is not set"


def doctor(
    *,
    receipt: Annotated[
        bool,
        typer.Option(
            "--receipt",
            help=f"Also post a call that costs nothing, of the account {ACCOUNT}, and wait for its "
            "receipt.",
        ),
    ] = False,
    wait: Annotated[float, typer.Option(min=1, help="Seconds to wait for it.")] = 60,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Ask LiteLLM, gateway, Kafka and PostgreSQL what is wrong. Exit code 1 if there is a fault.

    Asks what is set: LITELLM_URL and LITELLM_API_KEY, GATEWAY_URL and BILLING_INGEST_TOKEN,
    KAFKA_BOOTSTRAP_SERVERS, DATABASE_URL. Changes nothing, but posts one self-test callback to the
    gateway, which the consumer skips. With --receipt the ledger gets a receipt of 0 credits.
    """
    form = form_of(as_json=as_json, as_csv=as_csv)
    found = settings()
    if receipt and (missing := _missing(found)):
        fail(f"--receipt needs {' and '.join(missing)}", 2)
    findings = [*_proxy(found), *_gateway(found), *_kafka(found), *_database(found)]
    if receipt:
        findings.append(trial(found, wait))
    show("Findings", Listing(_NAMES, [_row(one) for one in findings]), form)
    faults = sum(one.state is State.FAULT for one in findings)
    if form is Form.TABLE:
        remark(f"{faults} fault(s)" if faults else "no fault found", form)
    raise typer.Exit(1 if faults else 0)


def _missing(found: Settings) -> list[str]:
    """Return the variables that a trial needs and that are not set."""
    needed = {
        "GATEWAY_URL": found.gateway_url,
        "BILLING_INGEST_TOKEN": found.ingest_token.get_secret_value(),
        "DATABASE_URL": found.database_url.get_secret_value(),
    }
    return [name for name, value in needed.items() if not value]


def _row(finding: Finding) -> dict[str, Any]:
    said = (finding.part, str(finding.state), finding.said, finding.step)
    return dict(zip(_NAMES, said, strict=True))


def _proxy(found: Settings) -> Iterator[Finding]:
    if not found.litellm_url:
        yield Finding("LiteLLM", State.WARNING, _UNSET.format("LITELLM_URL"))
        return
    key = found.litellm_api_key.get_secret_value()
    headers = {"Authorization": f"Bearer {key}"}
    try:
        with httpx.Client(base_url=found.litellm_url, headers=headers, timeout=_SECONDS) as client:
            details = _answer(client.get("/health/readiness/details"))
            callbacks = _answer(client.get("/active/callbacks"))
            if details.status == httpx.codes.NOT_FOUND:
                # Where releases before 2026 tell the same.
                details = _answer(client.get("/health/readiness"))
    except httpx.HTTPError as error:
        yield _unreachable("LiteLLM", found.litellm_url, error)
        return
    yield from diagnosis.of_proxy(details, callbacks)
    yield from diagnosis.of_clock("LiteLLM", details.at, datetime.now(UTC))


def _gateway(found: Settings) -> Iterator[Finding]:
    if not found.gateway_url:
        yield Finding("gateway", State.WARNING, _UNSET.format("GATEWAY_URL"))
        return
    token = found.ingest_token.get_secret_value()
    try:
        with httpx.Client(base_url=found.gateway_url, timeout=_SECONDS) as client:
            refused = _answer(client.post(_PATH, json=[]))
            headers = {"Authorization": f"Bearer {token}"}
            tried = (
                _answer(client.post(_PATH, json=[_self_test()], headers=headers)) if token else None
            )
    except httpx.HTTPError as error:
        yield _unreachable("gateway", found.gateway_url, error)
        return
    yield from diagnosis.of_gateway(refused, tried)
    yield from diagnosis.of_clock("gateway", refused.at, datetime.now(UTC))


def _self_test() -> dict[str, Any]:
    """Return a callback as LiteLLM's own self-test posts it: skipped, whatever it says."""
    now = datetime.now(UTC).timestamp()
    name = f"billing-doctor-{uuid.uuid4()}"
    return {
        "id": name,
        "litellm_call_id": name,
        "call_type": "acompletion",
        "status": "success",
        "model": SELF_TEST_MODEL,
        "model_group": SELF_TEST_MODEL,
        "response_cost": 0.0,
        "startTime": now,
        "endTime": now,
        "metadata": {},
    }


def _answer(response: httpx.Response) -> Answer:
    try:
        read = response.json()
    except ValueError:
        read = None
    try:
        at = parsedate_to_datetime(response.headers.get("date", ""))
    except ValueError:
        at = None
    return Answer(response.status_code, read if isinstance(read, dict) else {}, at)


def _unreachable(part: str, url: str, error: httpx.HTTPError) -> Finding:
    said = f"{url} does not answer: {error or type(error).__name__}"
    return Finding(part, State.FAULT, said, "is the address right, and reachable from here?")


def _kafka(found: Settings) -> Iterator[Finding]:
    if not found.kafka_bootstrap_servers:
        yield Finding("Kafka", State.WARNING, _UNSET.format("KAFKA_BOOTSTRAP_SERVERS"))
        return
    declared = load_topics(found.billing_topic_prefix)
    try:
        cluster = Cluster(kafka(found), found.billing_topic_replication_factor)
        differences = cluster.differences(declared)
        missing = [one.topic.name for one in differences if not one.exists]
        different = [one.topic.name for one in differences if one.exists and not one.as_declared]
        yield from diagnosis.of_topics(missing, different)
        for said in cluster.remarks(declared):
            yield Finding("Kafka", State.WARNING, said)
        if declared.callbacks.name not in missing:
            yield from _group(found, declared.callbacks.name)
    except KafkaException as error:
        said = f"Kafka at {found.kafka_bootstrap_servers}: {reason(error)}"
        yield Finding("Kafka", State.FAULT, said, "check the KAFKA_* variables")


def _group(found: Settings, topic: str) -> Iterator[Finding]:
    """Judge the consumer group. Raises `KafkaException`."""
    administrator = Administrator(kafka(found))
    partitions = administrator.topics()[topic].partitions
    asked = administrator.client.describe_consumer_groups([found.consumer_group])
    members = len(asked[found.consumer_group].result(_SECONDS).members)
    config = kafka(found) | {"group.id": found.consumer_group, "enable.auto.commit": False}
    with closing(Consumer(config)) as consumer:
        waiting = 0
        for place in committed(consumer, [(topic, number) for number in partitions]):
            low, high = consumer.get_watermark_offsets(
                TopicPartition(topic, place.partition), timeout=ASK_SECONDS
            )
            waiting += max(high - max(place.offset, low), 0)
    yield from diagnosis.of_group(found.consumer_group, members, waiting)


def _database(found: Settings) -> Iterator[Finding]:
    url = found.database_url.get_secret_value()
    if not url:
        yield Finding("PostgreSQL", State.WARNING, _UNSET.format("DATABASE_URL"))
        return
    try:
        pending = migration.pending(url)
        yield from diagnosis.of_schema(pending, migration.held_back(url) if pending else None)
    except migration.NewerSchemaError as error:
        yield Finding(
            "PostgreSQL",
            State.FAULT,
            str(error),
            "run the release that migrated it, or a newer one",
        )
    except LedgerError as error:
        yield Finding(
            "PostgreSQL",
            State.FAULT,
            str(error).strip(),
            "check DATABASE_URL and the user's rights",
        )
