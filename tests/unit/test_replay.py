"""A rebuild says by which settings it decides: they are those of whoever runs it."""

import pytest

from operator_cli.replay import rules
from operator_cli.settings import Settings, load


def test_a_rebuild_names_every_setting_that_it_decides_by(monkeypatch: pytest.MonkeyPatch) -> None:
    said = rules(Settings())
    assert "BILLING_CREDITS=true, " in said
    assert "BILLING_MARKUP=1, " in said

    monkeypatch.setenv("BILLING_CREDITS", "false")
    monkeypatch.setenv("BILLING_MARKUP", "1.04")
    monkeypatch.setenv("BILLING_FREE_MODELS", "local/*, tiny")
    said = rules(load())
    assert "BILLING_CREDITS=false, " in said
    assert "BILLING_MARKUP=1.04, " in said
    assert "BILLING_FREE_MODELS=local/*,tiny, " in said
