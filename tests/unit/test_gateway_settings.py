"""A configuration that would lose or leak something does not start."""

import pytest

from producer_gateway.settings import Settings, load
from runtime.environment import ConfigurationError

TOKEN = "t" * 32
OTHER = "o" * 32
THIRD = "3" * 32


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least that is needed."""
    for name in Settings.model_fields.values():
        monkeypatch.delenv(str(name.alias), raising=False)
    monkeypatch.setenv("BILLING_INGEST_TOKEN", TOKEN)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092")


def test_the_least_is_a_token_and_a_broker() -> None:
    settings = load()
    assert settings.tokens() == {TOKEN: "litellm"}
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert (settings.metrics_host, settings.metrics_port) == ("127.0.0.1", 9090)
    assert settings.max_body_bytes == 134_217_728


@pytest.mark.parametrize("name", ["BILLING_INGEST_TOKEN", "KAFKA_BOOTSTRAP_SERVERS"])
@pytest.mark.parametrize("value", [None, ""])
def test_what_is_needed_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    monkeypatch.delenv(name)
    if value is not None:
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name):
        load()


def test_each_token_names_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLING_INGEST_TOKEN_PREVIOUS", OTHER)
    monkeypatch.setenv("BILLING_INGEST_TOKENS", f"eu={THIRD}, eu={THIRD}b,us={THIRD}==")
    assert load().tokens() == {
        TOKEN: "litellm",
        OTHER: "litellm",
        THIRD: "litellm/eu",
        f"{THIRD}b": "litellm/eu",
        f"{THIRD}==": "litellm/us",
    }


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("BILLING_INGEST_TOKEN", "s3cret" * 5, "30 characters.*openssl"),
        ("BILLING_INGEST_TOKEN_PREVIOUS", "s3cret", "6 characters"),
        ("BILLING_INGEST_TOKENS", "eu=s3cret", "litellm/eu has 6 characters"),
        ("BILLING_INGEST_TOKENS", "s3cret" * 6, "name=token"),
        ("BILLING_INGEST_TOKENS", f"EU {OTHER}=x", "number 1"),
        ("BILLING_INGEST_TOKENS", f"eu={TOKEN}", "same token"),
        ("BILLING_INGEST_TOKENS", f"eu={OTHER},us={OTHER}", "same token"),
        ("BILLING_INGEST_TOKENS", f"eu={OTHER}1,eu={OTHER}2,eu={OTHER}3", "3 tokens"),
        ("BILLING_INGEST_TOKEN", "s3cret " * 6, "header cannot carry"),
        ("GATEWAY_PORT", "70000", "GATEWAY_PORT"),
        ("GATEWAY_CONTENT", "maybe", "keep.*drop"),
        ("GATEWAY_MAX_INFLIGHT_BYTES", "2048", "at least GATEWAY_MAX_BODY_BYTES"),
        ("GATEWAY_MAX_BODY_BYTE", "2048", "GATEWAY_MAX_BODY_BYTE"),
        ("GATEWAY_SILENCE_LIMITS", "litellm/eu=60", "'litellm/eu'; the sources are litellm"),
        ("GATEWAY_SILENCE_LIMITS", "litellm=soon", "no number of seconds"),
        ("GATEWAY_SILENCE_LIMITS", "litellm", "no number of seconds"),
        ("GATEWAY_SILENCE_LIMIT_S", "-1", "GATEWAY_SILENCE_LIMIT_S"),
        ("GATEWAY_PORT_8080_TCP", "tcp://10.0.0.1:8080", "enableServiceLinks"),
    ],
)
def test_what_is_wrong_is_refused_with_words_and_without_secrets(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=message) as refused:
        load()
    assert "s3cret" not in str(refused.value)
    assert TOKEN not in str(refused.value)
    assert OTHER not in str(refused.value)


def test_each_source_may_be_silent_for_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().silence_limits() == {"litellm": 3600}
    monkeypatch.setenv("BILLING_INGEST_TOKENS", f"eu={OTHER},test={THIRD}")
    monkeypatch.setenv("GATEWAY_SILENCE_LIMIT_S", "600")
    monkeypatch.setenv("GATEWAY_SILENCE_LIMITS", "litellm/eu=86400, litellm/test=0,")
    expected = {"litellm": 600, "litellm/eu": 86_400, "litellm/test": 0}
    assert load().silence_limits() == expected


def test_the_variables_that_clients_read_may_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_URL", "http://127.0.0.1:8080")
    monkeypatch.setenv("GATEWAY_METRICS_URL", "http://127.0.0.1:9090")
    load()


def test_settings_do_not_print_their_secrets() -> None:
    assert TOKEN not in repr(load())
