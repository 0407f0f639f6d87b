"""No message, log or traceback holds a part of a secret, whatever was given for one."""

import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from unittest import mock

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr
from pydantic_settings import BaseSettings
from typer.testing import CliRunner

import consumer.settings
import operator_cli.settings
import producer_gateway.settings
import reconciler.settings
import spend_guard.settings
from consumer.commands import app as consumer_app
from ledger.address import connect, fault
from operator_cli.__main__ import app as by_hand
from runtime.environment import ConfigurationError, variables

ROOT: Final = Path(__file__).parents[2]
MARKS: Final = ("Xq7Jv2", "Kz9Wp4", "Vh3Rf8")
SIGNS: Final = "%@/:?#&=+ ,;'\"[]{}\\^|<>\n\t\0\udcff\u00e9\u20ac"
ROOMS: Final[dict[str, tuple[Any, type[BaseSettings]]]] = {
    "consumer": (consumer.settings.load, consumer.settings.Settings),
    "operator": (operator_cli.settings.load, operator_cli.settings.Settings),
    "gateway": (producer_gateway.settings.load, producer_gateway.settings.Settings),
    "reconciler": (reconciler.settings.load, reconciler.settings.Settings),
    "guard": (spend_guard.settings.load, spend_guard.settings.Settings),
}
NEEDED: Final = {
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "BILLING_INGEST_TOKEN": "t" * 32,
    "LITELLM_URL": "http://127.0.0.1:1",
    "LITELLM_API_KEY": "sk-1",
    "SPEND_GUARD_TOKENS": "g" * 32,
}


def secret_settings() -> Iterator[tuple[str, str]]:
    """Each room's variables that hold a secret."""
    for room, (_, settings) in ROOMS.items():
        for variable, field in variables(settings).items():
            if SecretStr.__name__ in str(settings.model_fields[field].annotation):
                yield room, variable


SECRET_SETTINGS: Final = list(secret_settings())
secrets = st.builds(
    lambda first, second, third, fourth: (
        first + MARKS[0] + second + MARKS[1] + third + MARKS[2] + fourth
    ),
    *[st.text(SIGNS, max_size=3)] * 4,
)


def shows(text: str) -> str | None:
    """A part of a secret that is in `text`: three letters in a row are no coincidence.

    But in the path of this checkout, which a traceback names and which may be made up.
    """
    text = text.replace(str(ROOT), "")
    parts = [mark[at : at + 3] for mark in MARKS for at in range(len(mark) - 2)]
    return next((part for part in parts if part in text), None)


def told(error: BaseException) -> str:
    """All that could be printed of an error."""
    return "".join(traceback.format_exception(error)) + str(error) + repr(error)


def environment(**given: str) -> Any:  # noqa: ANN401 - mock's own
    """Nothing but what is needed and given."""
    ours = ("BILLING_", "CONSUMER_", "GATEWAY_", "KAFKA_", "DATABASE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    # A plain mapping: to put the real one in order and back takes longer than to read it.
    return mock.patch.object(os, "environ", kept | NEEDED | given)


def in_files(values: dict[str, str], directory: Path) -> dict[str, str]:
    """The same, each in a file: there a secret may hold what no variable can."""
    for name, value in values.items():
        (directory / name).write_bytes(value.encode("utf-8", "surrogateescape"))
    return {f"{name}_FILE": str(directory / name) for name in values}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For files."""
    return tmp_path_factory.mktemp("secrets")


def test_every_secret_is_known_as_one() -> None:
    assert {
        ("consumer", "DATABASE_URL"),
        ("consumer", "KAFKA_SASL_PASSWORD"),
        ("gateway", "BILLING_INGEST_TOKENS"),
        ("gateway", "KAFKA_SSL_KEY_PASSWORD"),
        ("reconciler", "LITELLM_API_KEY"),
    } <= set(SECRET_SETTINGS)


@pytest.mark.parametrize(("room", "variable"), SECRET_SETTINGS)
@given(secret=secrets)
@example(secret="".join(MARKS))
def test_reading_the_settings_shows_no_secret(
    directory: Path, room: str, variable: str, secret: str
) -> None:
    load, _ = ROOMS[room]
    values = [secret, f"eu={secret}", f"postgresql://user:{secret}@127.0.0.1:1/billing"]
    for value in values:
        # Also where somebody gave the secret where its file belongs.
        as_path = {f"{variable}_FILE": value.replace("\0", "")}
        for given_ in (in_files({variable: value}, directory), as_path):
            with environment(**given_):
                os.environ.pop(variable, None)
                try:
                    text = repr(load())
                except ConfigurationError as error:
                    text = told(error)
            assert not shows(text), text


@given(secret=secrets)
@example(secret="%".join(MARKS))
@example(secret="@".join(MARKS))
@example(secret="/".join(MARKS))
@example(secret="&".join(MARKS))
def test_a_database_url_shows_no_password_where_it_is_used(secret: str) -> None:
    urls = [
        f"postgresql://user:{secret}@127.0.0.1:1/billing",
        f"postgresql://127.0.0.1:1/billing?user=me&password={secret}",
    ]
    for url in urls:
        wrong = fault(url)
        assert not shows(wrong or "")
        if wrong is None:
            with pytest.raises(psycopg.Error) as refused:
                connect(url, "test")
            assert not shows(told(refused.value)), url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://billing:Xq7Jv2%Kz9Wp4@127.0.0.1:1/billing",
        "postgresql://billing:Xq7Jv2@Kz9Wp4@127.0.0.1:1/billing",
        "postgresql://billing:Xq7Jv2/Kz9Wp4@127.0.0.1:1/billing",
        "postgresql://billing:Xq7Jv2%00Kz9Wp4@127.0.0.1:1/billing",
        "postgresql://127.0.0.1:1/billing?password=Xq7Jv2&Kz9Wp4",
        "postgresql://127.0.0.1:1/billing?password=Xq7Jv2&Kz9Wp4=",
        "postgresql://billing:Xq7Jv2@[::1/billing",
        "Xq7Jv2Kz9Wp4",
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        ["run"],
        ["migrate"],
        ["report"],
        ["deferred", "list"],
        ["deferred", "waive", "1", "--note", "n"],
    ],
    ids=" ".join,
)
def test_no_command_shows_a_part_of_a_password(command: list[str], url: str) -> None:
    with environment(DATABASE_URL=url):
        app = consumer_app if command == ["run"] else by_hand
        done = CliRunner().invoke(app, command)
    assert done.exit_code in {1, 2}
    assert "DATABASE_URL" in done.output
    assert not shows(done.output), done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%40ss%2F%25%3A@h:5432/d",
        "postgresql://u:p?a#s:s!^|~@h/d",
        "postgres://u@h1:1,h2:2,[::1]:3/d?target_session_attrs=read-write",
        "postgresql:///d",
        "postgresql://",
        "postgresql:///d?host=/var/run/postgresql&user=a@b",
        "postgresql://u:p@h/d?options=-c%20lc_messages%3DC",
    ],
)
def test_a_url_that_means_one_thing_is_taken(url: str) -> None:
    assert fault(url) is None
