"""The stack's processes: what the spend guard is given, and where it stands."""

import re
from pathlib import Path

import pytest

from demo.process import Service
from demo.proxy import SAMPLE
from demo.settings import StackSettings
from demo.stack import PLUGIN_SETTINGS, compose
from demo.state import RunDirectory


def guard_of(path: Path, **given: str) -> tuple[Service, dict[str, str]]:
    """The spend guard of a stack with these settings, and the stack's environment file."""
    directory = RunDirectory(path)
    directory.create()
    settings = StackSettings.model_validate({key.lower(): text for key, text in given.items()})
    stack = compose(settings, directory, litellm=False)
    (guard,) = (service for service in stack.services if service.name == "spend-guard")
    return guard, stack.environment


def test_the_guard_listens_where_the_file_says_and_follows_the_migrations(tmp_path: Path) -> None:
    guard, environment = guard_of(tmp_path / "run")
    assert environment["SPEND_GUARD_URL"] == f"http://{guard.address}"
    assert guard.environment["SPEND_GUARD_PORT"] == guard.address.rpartition(":")[2]
    for name in ("DATABASE_URL", "SPEND_GUARD_TOKENS", "SPEND_GUARD_ADMIN_TOKENS"):
        assert guard.environment[name] == environment[name]
    assert environment["SPEND_GUARD_TOKENS"] != environment["SPEND_GUARD_ADMIN_TOKENS"]
    assert guard.needs == {"migrate"}
    assert guard.restarts


def test_the_guard_uses_the_database_and_the_ports_that_are_given(tmp_path: Path) -> None:
    given = {
        "DATABASE_URL": "postgresql://me@db.example/billing",
        "SPEND_GUARD_PORT": "8081",
        "SPEND_GUARD_METRICS_PORT": "9096",
        "SPEND_GUARD_TOKENS": "g" * 32,
    }
    guard, environment = guard_of(tmp_path / "run", **given)
    assert {name: guard.environment[name] for name in given} == given
    assert environment["SPEND_GUARD_METRICS_URL"] == "http://127.0.0.1:9096"


def test_the_guard_is_spared_the_settings_of_the_proxys_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SPEND_GUARD_FAIL", "SPEND_GUARD_HOLD_S"):
        monkeypatch.setenv(name, "1")
    guard, _ = guard_of(tmp_path / "run")
    assert "SPEND_GUARD_FAIL" not in guard.environment
    assert guard.environment["SPEND_GUARD_HOLD_S"] == "1"


def test_the_settings_of_the_plugin_are_those_that_it_reads() -> None:
    read = re.findall(r'"(SPEND_GUARD_[A-Z0-9_]+)"', (SAMPLE / "spend_guard.py").read_text())
    assert set(read) - {"SPEND_GUARD_URL"} == PLUGIN_SETTINGS
