"""How the chart's values reach the rooms, and which values it refuses."""

import json
from pathlib import PurePosixPath

import helm_python as helm
import pytest
import yaml

from tests.kubernetes.chart import (
    ALL_OFF,
    CHART,
    EVERYTHING,
    REQUIRED,
    SPEND_GUARD,
    Values,
    environment,
    manifests,
    texts,
    workloads,
)


@pytest.mark.parametrize("missing", sorted(REQUIRED))
def test_a_missing_required_value_is_named(missing: str) -> None:
    values = {key: value for key, value in REQUIRED.items() if key != missing}
    with helm.Chart.load(CHART) as chart, pytest.raises(helm.HelmRenderError, match=missing):
        chart.render(values, name="live")


def test_numbers_and_money_reach_the_rooms_as_they_were_written() -> None:
    # Helm keeps numbers as floats: 134217728 would otherwise arrive as 1.34217728e+08.
    assert environment("gateway")["GATEWAY_MAX_BODY_BYTES"] == "134217728"
    assert environment("consumer", {"billing": {"markup": "1.10"}})["BILLING_MARKUP"] == "1.10"


def test_lists_reach_the_consumer_with_commas() -> None:
    env = environment("consumer", EVERYTHING)
    assert env["BILLING_FREE_MODELS"] == "local-*,llama"
    assert env["BILLING_ACCOUNT_FROM"] == "user_api_key_team_id,end_user"


def test_the_keys_of_signatures_reach_everybody_who_decides() -> None:
    for component in ("consumer", "reconciler"):
        env = environment(component, EVERYTHING)
        keys = {"name": "billing-attribution", "key": "BILLING_ATTRIBUTION_KEYS"}
        assert env["BILLING_ATTRIBUTION_KEYS"]["secretKeyRef"] == keys
        assert env["BILLING_SIGNED_ACCOUNTS_ONLY"] == "true"
    assert not {"BILLING_ATTRIBUTION_KEYS", "BILLING_SIGNED_ACCOUNTS_ONLY"} & set(
        environment("consumer")
    )
    required = {"billing": {"signedAccountsOnly": True}}
    with (
        helm.Chart.load(CHART) as chart,
        pytest.raises(helm.HelmRenderError, match=r"needs billing\.attributionKeys"),
    ):
        chart.render({**REQUIRED, **required}, name="live")


def test_topic_prefix_reaches_everybody_who_names_topics() -> None:
    for component in ("gateway", "consumer", "topics"):
        assert environment(component, EVERYTHING)["BILLING_TOPIC_PREFIX"] == "staging."
        assert "BILLING_TOPIC_PREFIX" not in environment(component)


def test_secrets_are_references_and_each_room_gets_only_its_own() -> None:
    gateway, consumer = environment("gateway"), environment("consumer")
    token = gateway["BILLING_INGEST_TOKEN"]["secretKeyRef"]
    assert token == {"name": "billing-tokens", "key": "BILLING_INGEST_TOKEN"}
    for optional in ("BILLING_INGEST_TOKEN_PREVIOUS", "BILLING_INGEST_TOKENS"):
        assert gateway[optional]["secretKeyRef"]["optional"] is True
    database = {"name": "billing-database", "key": "DATABASE_URL"}
    assert consumer["DATABASE_URL"]["secretKeyRef"] == database
    assert "DATABASE_URL" not in gateway
    assert not [name for name in consumer if "TOKEN" in name]
    owner = environment("migrate", EVERYTHING)["DATABASE_URL"]["secretKeyRef"]["name"]
    assert owner == "billing-owner"
    assert not [m for m in manifests(EVERYTHING) if m["kind"] == "Secret"]


@pytest.mark.parametrize("component", ["gateway", "consumer", "topics"])
def test_whoever_speaks_to_kafka_logs_in_and_has_the_certificates(component: str) -> None:
    found = environment(component, EVERYTHING)
    assert found["KAFKA_SECURITY_PROTOCOL"] == "SASL_SSL"
    assert found["KAFKA_SASL_MECHANISM"] == "SCRAM-SHA-512"
    for key in ("KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"):
        assert found[key] == {"secretKeyRef": {"name": "billing-kafka", "key": key}}
    pod = dict(workloads(EVERYTHING))[component]
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["kafka-tls"]["secret"] == {"secretName": "kafka-authority"}
    for file in ("CA", "CERTIFICATE", "KEY"):
        path = PurePosixPath(found[f"KAFKA_SSL_{file}_LOCATION"])
        assert str(path.parent) == mounts["kafka-tls"]
        assert path.name == {"CA": "ca.crt", "CERTIFICATE": "tls.crt", "KEY": "tls.key"}[file]


def test_kafka_without_tls_has_no_certificates_and_the_database_never_has_kafkas() -> None:
    plain = environment("consumer")
    assert plain["KAFKA_SECURITY_PROTOCOL"] == "PLAINTEXT"
    assert not [name for name in plain if name.startswith(("KAFKA_SASL", "KAFKA_SSL"))]
    for values in ({}, EVERYTHING):
        migrate = dict(workloads(values))["migrate"]
        assert "kafka-tls" not in {volume["name"] for volume in migrate["volumes"]}
        assert not [name for name in environment("migrate", values) if name.startswith("KAFKA")]


@pytest.mark.parametrize("lacking", ["mechanism", "existingSecret"])
def test_a_login_without_what_it_takes_is_refused(lacking: str) -> None:
    with pytest.raises(helm.HelmRenderError, match=f"kafka.sasl.{lacking}"):
        texts(EVERYTHING, {"kafka": {"sasl": {lacking: ""}}})


def test_extra_variables_may_not_replace_what_the_chart_sets() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    reserved = schema["definitions"]["extraEnv"]["items"]["properties"]["name"]["not"]["enum"]
    components = ("gateway", "consumer", "reconciler", "spend-guard", "topics", "migrate")
    ours = set().union(*(environment(component, EVERYTHING) for component in components))
    assert ours - {"LOG_LEVEL", "A_TOKEN"} == set(reserved)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"gatewy": {}}, "gatewy"),
        ({"gateway": {"replica": 1}}, "replica"),
        ({"gateway": {"replicas": "two"}}, "replicas"),
        ({"gateway": {"content": "cut"}}, "content"),
        ({"gateway": {"service": {"port": 0}}}, "port"),
        ({"billing": {"markup": 1.1}}, "markup"),
        ({"billing": {"markup": "-1"}}, "markup"),
        ({"billing": {"freeModels": "local-*"}}, "freeModels"),
        ({"billing": {"freeModels": ["a,b"]}}, "freeModels"),
        ({"billing": {"unknownAccount": "close"}}, "unknownAccount"),
        ({"billing": {"creditThresholdsUsd": [10]}}, "creditThresholdsUsd"),
        ({"billing": {"creditThresholdsUsd": ["1,2"]}}, "creditThresholdsUsd"),
        ({"spendGuard": {"tokens": "x" * 32}}, "tokens"),
        ({"spendGuard": {"extraEnv": [{"name": "SPEND_GUARD_PORT", "value": "1"}]}}, "extraEnv"),
        ({"database": {"url": "postgresql://u:p@h/d"}}, "url"),
        ({"ingestTokens": {"token": "x" * 32}}, "token"),
        ({"image": {"digest": "latest"}}, "digest"),
        ({"gateway": {"extraEnv": [{"name": "DATABASE_URL", "value": "x"}]}}, "extraEnv"),
        (
            {"gateway": {"extraEnv": [{"name": "KAFKA_SSL_KEY_PASSWORD", "value": "x"}]}},
            "valueFrom",
        ),
        ({"consumer": {"extraEnv": [{"name": "NEITHER"}]}}, "extraEnv"),
    ],
    ids=str,
)
def test_schema_refuses_what_the_chart_does_not_know(values: Values, complaint: str) -> None:
    with pytest.raises(helm.HelmValuesError, match=complaint):
        texts(values)


def test_notes_lead_to_the_ingest_and_to_the_receipts() -> None:
    notes = texts()["billing-stream/templates/NOTES.txt"]
    service = next(
        m["metadata"]["name"]
        for m in manifests()
        if m["kind"] == "Service" and not m["metadata"]["name"].endswith("-metrics")
    )
    assert f"http://{service}.money:8080/v1/callbacks/litellm" in notes
    assert "deploy/live-billing-stream-consumer -- billing report" in notes
    off = texts(ALL_OFF)["billing-stream/templates/NOTES.txt"]
    assert "takes no callbacks" in off
    assert "writes no receipts" in off


def test_every_value_is_documented() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    assert [line for line in lines if "# --" in line and len(line.split("# --")[1]) < 10] == []
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load("\n".join(lines))
    assert set(schema["properties"]) - {"global"} == set(values)
    for key, value in values.items():
        known = schema["properties"][key].get("properties")
        if known is not None:
            assert set(known) == set(value), key


def test_the_reconciler_is_off_unless_it_is_wanted_and_has_the_token_of_its_source() -> None:
    assert "reconciler" not in dict(workloads())
    proxy = {"url": "http://litellm:4000", "existingSecret": "litellm-admin"}
    wanted = {"reconciler": {"enabled": True, "litellm": proxy}}
    env = environment("reconciler", wanted)
    assert env["GATEWAY_URL"] == "http://live-billing-stream-gateway.money:8080"
    assert env["LITELLM_API_KEY"]["secretKeyRef"]["name"] == "litellm-admin"
    assert env["BILLING_INGEST_TOKEN"]["secretKeyRef"]["key"] == "BILLING_INGEST_TOKEN"
    assert "BILLING_INGEST_TOKENS" not in env
    eu = environment("reconciler", wanted, {"reconciler": {"source": "eu"}})
    assert (eu["RECONCILER_SOURCE"], "BILLING_INGEST_TOKEN" in eu) == ("eu", False)
    assert eu["BILLING_INGEST_TOKENS"]["secretKeyRef"]["name"] == "billing-tokens"
    rules = {name for name in environment("consumer", wanted) if name.startswith("BILLING_")}
    # It moves no credits.
    assert rules - set(env) == {"BILLING_UNKNOWN_ACCOUNT", "BILLING_CREDIT_THRESHOLDS_USD"}
    for missing in ("url", "existingSecret"):
        half = {"reconciler": {"enabled": True, "litellm": {**proxy, missing: ""}}}
        with pytest.raises(helm.HelmRenderError, match=rf"reconciler\.litellm\.{missing}"):
            texts(half)


def test_the_spend_guard_is_off_unless_it_is_wanted_and_decides_as_the_consumer_does() -> None:
    assert "spend-guard" not in dict(workloads())
    assert "SPEND_GUARD_URL" not in texts()["billing-stream/templates/NOTES.txt"]
    billing = {"markup": "1.10", "unknownAccount": "refuse", "creditThresholdsUsd": []}
    rules: Values = {"billing": billing}
    wanted: Values = {"spendGuard": SPEND_GUARD, **rules}
    env, consumer = environment("spend-guard", wanted), environment("consumer", wanted)
    decides = {
        "BILLING_MARKUP": "1.10",
        "BILLING_UNKNOWN_ACCOUNT": "refuse",
        "BILLING_CREDIT_THRESHOLDS_USD": "none",
    }
    for name, value in decides.items():
        assert env[name] == consumer[name] == value
    tokens = {"name": "billing-spend-guard", "key": "SPEND_GUARD_TOKENS"}
    assert env["SPEND_GUARD_TOKENS"]["secretKeyRef"] == tokens
    assert env["SPEND_GUARD_ADMIN_TOKENS"]["secretKeyRef"]["optional"] is True
    assert env["DATABASE_URL"] == consumer["DATABASE_URL"]
    with pytest.raises(helm.HelmRenderError, match=r"spendGuard\.existingSecret"):
        texts({"spendGuard": {"enabled": True}})


def test_the_address_in_the_notes_is_where_the_spend_guard_is_asked() -> None:
    wanted: Values = {"spendGuard": {**SPEND_GUARD, "service": {"port": 80}}}
    url = "http://live-billing-stream-spend-guard.money:80"
    assert f"SPEND_GUARD_URL={url}\n" in texts(wanted)["billing-stream/templates/NOTES.txt"]
    [service] = [
        m
        for m in manifests(wanted)
        if m["kind"] == "Service" and m["metadata"]["name"] == "live-billing-stream-spend-guard"
    ]
    [port] = service["spec"]["ports"]
    container = dict(workloads(wanted))["spend-guard"]["containers"][0]
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert (port["port"], ports[port["targetPort"]]) == (80, 8081)
    env = environment("spend-guard", wanted)
    assert env["SPEND_GUARD_PORT"] == str(ports["http"])
    assert env["SPEND_GUARD_METRICS_PORT"] == str(ports["metrics"])
