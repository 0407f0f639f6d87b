"""Addresses of HTTP servers in settings: what is taken, and what is never shown."""

import pytest
from pydantic import TypeAdapter, ValidationError

from operator_cli.settings import load
from runtime.address import HttpAddress
from runtime.environment import ConfigurationError

ADDRESS: TypeAdapter[str] = TypeAdapter(HttpAddress)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("", ""),
        ("http://gateway:8080", "http://gateway:8080"),
        ("https://litellm.example/proxy/", "https://litellm.example/proxy"),
    ],
)
def test_an_address_has_no_slash_at_its_end(given: str, taken: str) -> None:
    assert ADDRESS.validate_python(given) == taken


@pytest.mark.parametrize(
    "given",
    [
        "gateway:8080",
        "ftp://gateway",
        "http://user:secret@gateway",
        "http://gateway?key=secret",
        "http://gateway#secret",
        "http://gateway/ secret",
        "http://gateway\nsecret",
    ],
)
def test_what_may_hold_a_secret_is_no_address_and_is_not_shown(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValidationError):
        ADDRESS.validate_python(given)
    monkeypatch.setenv("GATEWAY_URL", given)
    with pytest.raises(ConfigurationError, match="GATEWAY_URL: must") as refused:
        load()
    assert "secret" not in str(refused.value)
