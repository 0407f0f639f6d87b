"""The reconciler's settings: what is needed, what is refused, and that no secret is shown."""

from datetime import timedelta

import pytest

from reconciler.proxy import Patience
from reconciler.settings import Settings, load
from runtime.environment import ConfigurationError

NEEDED = {
    "LITELLM_URL": "https://litellm.example/proxy/",
    "LITELLM_API_KEY": "sk-of-an-admin",
    "DATABASE_URL": "postgresql://billing@ledger.example/billing",
}


def loaded(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    """The settings of an environment."""
    for name, value in {**NEEDED, **variables}.items():
        monkeypatch.setenv(name, value)
    return load()


def test_the_proxy_its_key_and_the_ledger_are_all_that_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = loaded(monkeypatch)
    assert settings.litellm_url == "https://litellm.example/proxy"
    assert settings.litellm_api_key.get_secret_value() == "sk-of-an-admin"
    assert "sk-of-an-admin" not in repr(settings)
    for name in NEEDED:
        monkeypatch.delenv(name)
    with pytest.raises(
        ConfigurationError, match="LITELLM_URL and LITELLM_API_KEY and DATABASE_URL must be set"
    ):
        load()


def test_the_key_may_stand_in_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("secrets") / "key"
    file.write_text("sk-in-a-file\n")
    settings = loaded(monkeypatch, LITELLM_API_KEY="", LITELLM_API_KEY_FILE=str(file))
    assert settings.litellm_api_key.get_secret_value() == "sk-in-a-file"


def test_times_are_in_the_unit_that_their_names_say(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(
        monkeypatch,
        RECONCILER_TIMEOUT_MS="1500",
        RECONCILER_TRIES="3",
        RECONCILER_RETRY_MAX_MS="250",
        RECONCILER_ANSWER_BYTES="5000",
        RECONCILER_GRACE_S="90",
    )
    assert settings.patience == Patience(1.5, tries=3, longest_pause=0.25, answer_bytes=5_000)
    assert settings.grace == timedelta(minutes=1, seconds=30)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LITELLM_URL", "litellm.example"),
        ("LITELLM_URL", "https://user:password@litellm.example"),
        ("LITELLM_URL", "https://litellm.example?key=x"),
        ("GATEWAY_URL", "gateway:8080"),
        ("RECONCILER_SOURCE", "litellm/eu"),
        ("RECONCILER_OVERLAP_S", "900"),
        ("BILLING_INGEST_TOKEN", "a b"),
        ("RECONCILER_PAGE_ROWS", "1001"),
        ("RECONCILER_TRIES", "0"),
        ("RECONCILER_PAGE_ROW", "10"),
        ("BILLING_MARKUPS", "2"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    with pytest.raises(ConfigurationError, match=variable):
        loaded(monkeypatch, **{variable: value})


def test_the_token_is_that_of_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = {"BILLING_INGEST_TOKEN": "t" * 32, "BILLING_INGEST_TOKENS": "us=u, eu=e=e"}
    plain = loaded(monkeypatch, **tokens)
    assert (plain.source_system, plain.token) == ("litellm", "t" * 32)
    eu = loaded(monkeypatch, **tokens, RECONCILER_SOURCE="eu")
    assert (eu.source_system, eu.token) == ("litellm/eu", "e=e")
    # Never another source's: its calls would be charged a second time.
    assert loaded(monkeypatch, **tokens, RECONCILER_SOURCE="asia").token == ""
    assert "e=e" not in repr(eu)
