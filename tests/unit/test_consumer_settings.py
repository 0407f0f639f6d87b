"""The consumer's settings: what is right, what is refused, and that a refusal shows no secret."""

import os
from decimal import Decimal
from pathlib import Path

import pytest

from consumer.service import consumer_config, producer_config
from consumer.settings import Settings, load
from operator_cli import settings as operators
from runtime.environment import ConfigurationError
from schemas.text import MAX_TEXT_BYTES
from schemas.topics import load_topics
from tests.inputs.settings import NEEDED, settings

SECRET = "hunter2-hunter2"  # noqa: S105 - it is what must not be shown


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of ours from whoever runs the tests."""
    for name in os.environ:
        if name.startswith(("BILLING_", "CONSUMER_", "KAFKA_", "DATABASE_")):
            monkeypatch.delenv(name)


def loaded(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    """The settings of an environment."""
    needed = {name: value for name, value in NEEDED.items() if f"{name}_FILE" not in environment}
    for name, value in (needed | environment).items():
        monkeypatch.setenv(name, value)
    return load()


def test_the_defaults_bill_at_cost_and_call_nothing_free(monkeypatch: pytest.MonkeyPatch) -> None:
    found = loaded(monkeypatch)
    assert found.billing_markup == 1
    assert found.billing_free_models == ()
    assert found.consumer_group == "billing-consumer"
    assert found.consumer_metrics_port == 9091
    assert found.consumer_database_role == "billing_consumer"
    assert found.billing_not_billable_call_types == ()


def test_lists_are_split_and_trimmed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = loaded(
        monkeypatch,
        BILLING_FREE_MODELS=" free-*, ,mock-free,",
        BILLING_ACCOUNT_FROM="user_api_key_team_id , end_user",
    )
    assert found.billing_free_models == ("free-*", "mock-free")
    assert found.billing_account_from == ("user_api_key_team_id", "end_user")


@pytest.mark.parametrize(
    ("text", "exact"), [("1.1", "1.1"), ("0", "0"), ("0.000000001", "1E-9"), ("1e1", "10")]
)
def test_MONEY_IS_EXACT_the_markup_is_a_decimal(
    monkeypatch: pytest.MonkeyPatch, text: str, exact: str
) -> None:
    assert loaded(monkeypatch, BILLING_MARKUP=text).billing_markup == Decimal(exact)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BILLING_MARKUP", "-1"),
        ("BILLING_MARKUP", "101"),
        ("BILLING_MARKUP", "NaN"),
        ("BILLING_MARKUP", "Infinity"),
        ("BILLING_MARKUP", "1,5"),
        ("BILLING_MARKUP", "two"),
        ("BILLING_MARKUP", "1.0000000000000000001"),
        ("BILLING_ACCOUNT_FROM", "end_user,user_api_key_email"),
        ("BILLING_ACCOUNT_FROM", ","),
        ("BILLING_TOPIC_PREFIX", "a b"),
        ("BILLING_TOPIC_PREFIX", "a\nb"),
        ("BILLING_TOPIC_PREFIX", "a\n"),
        ("CONSUMER_METRICS_PORT", "70000"),
        ("CONSUMER_METRICS_PORT", "http"),
        ("CONSUMER_BATCH_RECORDS", "0"),
        ("CONSUMER_BATCH_WAIT_MS", "0"),
        ("CONSUMER_SESSION_TIMEOUT_MS", "10"),
        ("CONSUMER_STALLED_AFTER_SECONDS", "0"),
        ("CONSUMER_STALLED_AFTER_SECONDS", "nan"),
        ("CONSUMER_DEAD_LETTER_SHARE", "1.5"),
        ("CONSUMER_LOG_LEVEL", "loud"),
        ("DATABASE_URL", f"mysql://user:{SECRET}@host/billing"),
        ("DATABASE_URL", f"host=db password={SECRET}"),
        ("KAFKA_SECURITY_PROTOCOL", "TLS"),
        ("BILLING_MARKUPS", "2"),
        ("CONSUMER_BATCH_SIZE", "10"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    with pytest.raises(ConfigurationError, match=name) as refused:
        loaded(monkeypatch, **{name: value})
    assert SECRET not in str(refused.value)


def test_a_wrong_setting_of_the_operator_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BILLING_TOPIC_REPLICATION_FACTOR", "-2")
    with pytest.raises(ConfigurationError, match="BILLING_TOPIC_REPLICATION_FACTOR"):
        operators.load()


def test_a_secret_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"postgresql://user:{SECRET}@host/billing\n")
    found = loaded(monkeypatch, DATABASE_URL_FILE=str(file))
    assert found.database_url.get_secret_value().endswith("@host/billing")
    assert SECRET not in repr(found)


def test_a_secret_in_two_places_or_in_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL_FILE"):
        loaded(monkeypatch, DATABASE_URL_FILE=str(tmp_path / "absent"))
    with pytest.raises(ConfigurationError, match="both DATABASE_URL and DATABASE_URL_FILE"):
        loaded(monkeypatch, DATABASE_URL=f"postgresql://user:{SECRET}@host/billing")


def test_an_account_of_the_operator_is_kept_storable(monkeypatch: pytest.MonkeyPatch) -> None:
    found = loaded(
        monkeypatch, BILLING_INTERNAL_ACCOUNT="haus", BILLING_UNATTRIBUTED_ACCOUNT="x" * 5_000
    )
    decided = found.policy(load_topics().usage_units.name)
    assert decided.accounts.internal == "haus"
    assert len(decided.accounts.unattributed) <= MAX_TEXT_BYTES


def test_the_member_commits_nothing_by_itself_and_reads_only_what_is_committed() -> None:
    found = settings(consumer_group="g")
    member = consumer_config(found)
    assert member["enable.auto.commit"] is False
    assert member["enable.auto.offset.store"] is False
    assert member["auto.offset.reset"] == "error"
    assert member["isolation.level"] == "read_committed"
    producer = producer_config(found, load_topics())
    assert producer["acks"] == "all"
    assert producer["partitioner"] == "murmur2_random"
    assert producer["transactional.id"].startswith("g-")


@pytest.mark.parametrize(
    ("session_ms", "transaction_ms", "waits_ms"),
    [(15_000, 15_000, 30_000), (15_000, 600_000, 30_000), (45_000, 15_000, 45_000)],
)
def test_the_group_waits_half_a_minute_for_a_member_however_long_a_transaction_may_take(
    session_ms: int, transaction_ms: int, waits_ms: int
) -> None:
    found = settings(
        consumer_session_timeout_ms=session_ms, consumer_transaction_timeout_ms=transaction_ms
    )
    assert consumer_config(found)["max.poll.interval.ms"] == waits_ms
