"""What the demo goes without: settings of the caller with which it could not show what it says."""

from decimal import Decimal
from pathlib import Path

import pytest

from demo import chosen
from demo.calls import DEAR
from demo.process import StackError
from demo.stack import PLUGIN_SETTINGS
from runtime.environment import BILLING_VARIABLES
from spend_guard.settings import Settings


def test_settings_that_the_calls_depend_on_are_left_and_named() -> None:
    shell = {
        "BILLING_ACCOUNT_FROM": "user_api_key_team_id",
        "SPEND_GUARD_HOLD_S_FILE": "/run/seconds",
        "BILLING_CREDITS": "",
        "BILLING_MARKUP": "1.25",
        "SPEND_GUARD_RATES_S": "1",
    }
    [said] = chosen.leave(shell)
    assert said.startswith(
        "not taken from the environment: BILLING_ACCOUNT_FROM, SPEND_GUARD_HOLD_S_FILE: "
    )
    assert shell == {"BILLING_MARKUP": "1.25", "SPEND_GUARD_RATES_S": "1"}


def test_every_setting_that_is_left_is_one_that_somebody_reads() -> None:
    guard = {name.upper() for name in Settings.model_fields}
    assert BILLING_VARIABLES | guard | PLUGIN_SETTINGS >= chosen.FOREIGN


@pytest.mark.parametrize(
    ("given", "kept", "named"),
    [
        ("*", "", "*"),
        (f"local-*, {DEAR}", "local-*", DEAR),
        ("real-unpriced,mine", "mine", "real-unpriced"),
        ("real-[du]*,real-*,*-free", "*-free", "real-[du]*, real-*"),
    ],
)
def test_no_pattern_makes_the_calls_free_that_show_a_price(
    given: str, kept: str, named: str
) -> None:
    shell = {"BILLING_FREE_MODELS": given}
    [said] = chosen.leave(shell)
    assert said.startswith(f"not taken from BILLING_FREE_MODELS: {named}: ")
    assert shell == {"BILLING_FREE_MODELS": kept}


@pytest.mark.parametrize("given", ["", "local-*,*-free", "real-tiny", "mock-*"])
def test_other_free_models_are_kept(given: str) -> None:
    shell = {"BILLING_FREE_MODELS": given}
    assert chosen.leave(shell) == []
    assert shell == {"BILLING_FREE_MODELS": given}


def test_a_markup_and_free_models_in_files_are_the_same(tmp_path: Path) -> None:
    given = {"BILLING_MARKUP": "0.5\n", "BILLING_FREE_MODELS": "local-*,real-*\n"}
    shell = {}
    for name, text in given.items():
        (tmp_path / name).write_text(text)
        shell[f"{name}_FILE"] = str(tmp_path / name)
    assert len(chosen.leave(shell)) == 1
    assert shell == {"BILLING_MARKUP": "0.5", "BILLING_FREE_MODELS": "local-*"}
    assert chosen.markup(shell) == Decimal("0.5")
    assert chosen.markup({"BILLING_MARKUP": ""}) == chosen.markup({}) == 1
    missing = {"BILLING_MARKUP_FILE": str(tmp_path / "missing")}
    with pytest.raises(StackError, match="BILLING_MARKUP_FILE: the file cannot be read"):
        chosen.leave(missing)


def test_a_setting_that_is_given_twice_is_left_for_the_rooms_to_refuse() -> None:
    shell = {"BILLING_MARKUP": "2", "BILLING_MARKUP_FILE": "/run/markup"}
    assert chosen.leave(shell) == []
    assert shell == {"BILLING_MARKUP": "2", "BILLING_MARKUP_FILE": "/run/markup"}
