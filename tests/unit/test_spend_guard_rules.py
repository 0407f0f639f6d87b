"""The rules of the spend guard's plugin: whose a call is, as for its receipt, and the settings."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charging.account import Accounts, payer
from charging.settings import ChargingRules
from schemas.callback import Callback, ContractError, Metadata, RequesterHeaders
from schemas.identity import identity_of
from schemas.text import identifier
from tests.doubles.litellm_stub import ENVIRONMENT, PLUGIN, Router, caller, loaded

SESSION: Final = f"user_{'0' * 64}_account_1-2_session_{'a' * 36}"
FIELDS: Final = tuple(ChargingRules.model_fields["billing_account_from"].default)
ODD: Final = (
    *("", " ", "acme", "run-1/2", "run-1/1234567890", "run/x", "/1", "default_user_id", SESSION),
    *('{"user_id": "x"}', '["x"]', '"{', "[acme]", "{acme}", " acme", "a\x00b", "x" * 2_000),
    f"{'x' * 200}~sha256-{'0' * 64}",
)
texts = st.one_of(
    st.sampled_from(ODD),
    st.sampled_from(ODD),
    st.none(),
    st.text(max_size=12),
    st.text(alphabet="{}[]\"'/ 12ab", max_size=8),
)
scalars = st.one_of(
    texts,
    st.sampled_from([7, 7.0, -0.0, 0.5, 1e16, 10**9, 10**64, "7.0", "2147483648"]),
    st.integers(),
    st.booleans(),
    st.floats(),
    st.lists(st.integers(), max_size=1),
)


@pytest.fixture(scope="module")
def plugin() -> Iterator[Any]:
    """The plugin's module."""
    with loaded({}, Router()) as module:
        yield module


PLUGIN_FIELDS: Final = (
    "user_api_key_alias",
    "user_api_key_end_user_id",
    "user_api_key_hash",
    "user_api_key_org_id",
    "user_api_key_project_id",
    "user_api_key_team_id",
    "user_api_key_user_id",
)


@settings(max_examples=500, deadline=None)
@given(
    end_user=texts,
    header=texts,
    known=st.fixed_dictionaries(dict.fromkeys(PLUGIN_FIELDS, texts)),
    order=st.one_of(
        st.just(FIELDS),
        st.permutations(["end_user", "x-litellm-end-user-id", *PLUGIN_FIELDS]).map(tuple),
    ),
)
def test_the_account_that_is_asked_about_is_the_one_that_is_charged(
    plugin: Any,  # noqa: ANN401 - a module that is loaded from its file
    end_user: str | None,
    header: str | None,
    known: dict[str, Any],
    order: tuple[str, ...],
) -> None:
    rules = plugin.settings_of({**ENVIRONMENT, "BILLING_ACCOUNT_FROM": ",".join(order)})
    names = plugin.ACCOUNT_FIELDS
    known["user_api_key_end_user_id"] = end_user  # one value, under two names
    asking = caller(**{names[field]: value for field, value in known.items()})
    data = {"proxy_server_request": {"headers": {"x-litellm-end-user-id": header}}}

    asked = plugin.payer_of(plugin.named_by(asking, data), rules)

    metadata = Metadata(**known, requester_custom_headers=RequesterHeaders(end_user_id=header))
    callback = Callback(status="success", end_user=end_user, metadata=metadata)
    accounts = Accounts(fields=order, internal="internal", unattributed="unattributed")
    charged, run_first, *_ = payer(callback, metadata, accounts)
    assert asked.account == identifier(charged or "unattributed")
    assert asked.of_run == (run_first or charged is None)


@settings(max_examples=500, deadline=None)
@given(
    said=st.one_of(
        scalars,
        st.fixed_dictionaries({}, optional={"run_id": scalars, "attempt": scalars}),
        st.fixed_dictionaries({}, optional={"run_id": texts, "attempt": st.integers()}).map(
            json.dumps
        ),
    ),
    end_user=texts,
)
def test_the_run_that_is_named_is_the_one_of_the_receipt(
    plugin: Any,  # noqa: ANN401 - as above
    said: Any,  # noqa: ANN401 - a client writes anything
    end_user: str | None,
) -> None:
    metadata = Metadata(spend_logs_metadata=said)
    callback = Callback(status="success", id="1", end_user=end_user, metadata=metadata)

    found = plugin.run_of(said, end_user)

    try:
        of_receipt = identity_of(callback)
    except ContractError:
        return
    assert found.id == (of_receipt.run_id if of_receipt.attributed else None)
    assert found.attempt == of_receipt.attempt


def test_the_defaults_are_those_of_the_receipts(plugin: Any) -> None:  # noqa: ANN401 - as above
    found = plugin.settings_of(ENVIRONMENT)
    rules = ChargingRules(_env_file=None)

    assert found.account_from == rules.billing_account_from
    assert found.unattributed == rules.billing_unattributed_account


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SPEND_GUARD_URL", ""),
        ("SPEND_GUARD_TOKEN", " "),
        ("SPEND_GUARD_FAIL", "maybe"),
        ("SPEND_GUARD_TIMEOUT_MS", "0"),
        ("SPEND_GUARD_TIMEOUT_MS", "soon"),
        ("SPEND_GUARD_PLENTY_SECONDS", "-1"),
        ("SPEND_GUARD_BREAKER_SECONDS", "NaN"),
        ("BILLING_ACCOUNT_FROM", "end_user,user_api_key_email"),
    ],
)
def test_a_wrong_setting_stops_the_start_and_is_named(
    plugin: Any,  # noqa: ANN401 - as above
    name: str,
    text: str,
) -> None:
    with pytest.raises(ValueError, match=name):
        plugin.settings_of({**ENVIRONMENT, name: text})


def test_the_page_has_every_setting_of_the_plugin() -> None:
    read = set(re.findall(r'"((?:SPEND_GUARD|BILLING)_[A-Z0-9_]+)"', PLUGIN.read_text()))
    page = (PLUGIN.parents[2] / "docs" / "litellm.md").read_text()

    assert len(read) >= 10
    assert {name for name in read if f"`{name}`" not in page} == set()
    told = set(re.findall(r"^\| `(SPEND_GUARD_[A-Z0-9_]+)`", page, re.MULTILINE))
    assert told == {name for name in read if name.startswith("SPEND_GUARD_")}
