"""Signatures of an attribution: what the client signs is believed, and no more."""

import hmac
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from billing_stream_client import Run, WrongInputError, signed
from charging.account import may_be_of_run, of_run
from charging.background import inherit
from charging.decision import Policy
from charging.kept import kept_of, settled_value
from charging.outcomes import Deferred
from charging.settings import ChargingRules
from charging.signature import SignatureRules
from schemas.receipt import Receipt
from schemas.signature import Attribution, signed_bytes
from tests.inputs.callbacks import charged, element, policy, verdict

OLD, NEW = "2026-10", "2026-11"
SECRETS = {OLD: "o" * 32, NEW: "n" * 40}
NAMES = ("graph_id", "sub_agent_id", "parent_sub_agent_id", "tool_call_id")
SAID: dict[str, Any] = {"run_id": "run-1", "attempt": 2, "sub_agent_id": "poet"}
SIGNED, FORGED = "attribution_signed", "attribution_forged"
UNKNOWN_KEY, NOT_BELIEVED = "attribution_unknown_key", "attribution_not_believed"
OF_SIGNATURES = {SIGNED, FORGED, UNKNOWN_KEY, NOT_BELIEVED, "account_unsigned"}


def rules(*ids: str, required: bool = False) -> Policy:
    """A policy by which these keys are valid."""
    secrets = {one: SECRETS[one].encode() for one in ids}
    return policy(signatures=SignatureRules(secrets, required))


def key(key_id: str = NEW) -> str:
    """A key as the client takes it."""
    return f"{key_id}={SECRETS[key_id]}"


def receipt(said: object, *, by: Policy | None = None, **fields: object) -> Receipt:
    """The receipt of a call whose client says this."""
    metadata = {"spend_logs_metadata": said, **{k: v for k, v in fields.items() if k in TRUSTED}}
    others = {name: value for name, value in fields.items() if name not in TRUSTED}
    return charged(element(metadata=metadata, **others), by or rules(OLD, NEW)).receipt


TRUSTED = {"user_api_key_team_id", "requester_custom_headers"}


def marks(said: object, *, by: Policy | None = None, **fields: object) -> set[str]:
    """What its marks say of the signature."""
    return OF_SIGNATURES & set(receipt(said, by=by, **fields).marks)


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1).filter(
    lambda text: text == text.strip() and len(text.encode()) < 500
)


@given(
    st.fixed_dictionaries(
        {"run_id": texts, "attempt": st.integers(0, 9)},
        optional={**dict.fromkeys(NAMES, texts), "of_its_own": st.text()},
    ),
    st.none() | texts,
    st.sampled_from([OLD, NEW]),
    st.booleans(),
)
def test_what_the_client_signs_is_signed_whatever_the_names_are(
    said: dict[str, Any],
    account: str | None,
    key_id: str,
    as_text: bool,  # noqa: FBT001 - as hypothesis passes it
) -> None:
    try:
        sent: object = signed(said, key(key_id), account)
    except WrongInputError:
        assume(False)
    assert marks(json.dumps(sent) if as_text else sent, end_user=account) == {SIGNED}


@given(
    st.sampled_from(["run_id", "attempt", *NAMES, "account"]),
    texts | st.integers(3, 99) | st.none() | st.sampled_from(["run-1 ", "Poet", "2"]),
)
def test_whatever_is_changed_is_forged(name: str, other: object) -> None:
    sent = signed({**SAID, "graph_id": "poems"}, key(), "acct-1")
    assume(str(({**sent, "account": "acct-1"}).get(name)) != str(other))
    if name == "account":
        assert marks(sent, end_user=other) == {FORGED}
    else:
        assert marks({**sent, name: other}) == {FORGED}


@given(
    st.text()
    | st.integers()
    | st.booleans()
    | st.lists(st.text(), min_size=1)
    | st.from_regex(r"v1:[a-z0-9.-]{0,33}:[0-9a-f]{0,65}")
)
def test_what_is_no_signature_charges_the_call_all_the_same(value: object) -> None:
    found = receipt({**SAID, "billing_signature": value})
    assert found.run_id == "run-1"
    assert found.billing_account_id == "acct-1"
    assert SIGNED not in found.marks
    blank = isinstance(value, str) and not value.strip()
    assert bool({FORGED, UNKNOWN_KEY} & set(found.marks)) is not blank


def test_a_signature_of_another_run_is_none_of_this_one() -> None:
    other = signed({**SAID, "run_id": "run-2"}, key(), "acct-1")["billing_signature"]
    assert marks({**SAID, "billing_signature": other}) == {FORGED}
    assert marks({"sub_agent_id": "poet", "billing_signature": other}) == {FORGED}
    # A signature has to be of a run: the client makes no other one.
    nameless = signed_bytes(NEW, Attribution(None, 0, None, None, None, None, None))
    made = hmac.new(SECRETS[NEW].encode(), nameless, "sha256").hexdigest()
    assert marks({"billing_signature": f"v1:{NEW}:{made}"}) == {FORGED}


def test_keys_rotate_without_a_call_that_is_not_believed() -> None:
    by_old, by_new = signed(SAID, key(OLD)), signed(SAID, key(NEW))
    assert [marks(by_old, by=rules(*ids)) for ids in ((OLD,), (OLD, NEW), (NEW,))] == [
        {SIGNED, "account_unsigned"}, {SIGNED, "account_unsigned"}, {UNKNOWN_KEY},
    ]  # fmt: skip
    assert [marks(by_new, by=rules(*ids)) for ids in ((OLD,), (OLD, NEW), (NEW,))] == [
        {UNKNOWN_KEY}, {SIGNED, "account_unsigned"}, {SIGNED, "account_unsigned"},
    ]  # fmt: skip
    renamed = by_old["billing_signature"].replace(OLD, NEW)
    assert marks({**SAID, "billing_signature": renamed}) == {FORGED}


def test_without_keys_nothing_is_looked_at() -> None:
    assert marks(signed(SAID, key()), by=policy()) == set()
    assert marks({**SAID, "billing_signature": "nonsense"}, by=policy()) == set()
    assert marks(SAID) == set()


def test_the_account_is_signed_as_the_request_names_it() -> None:
    sent = signed(SAID, key(), "acme")
    header = {"x-litellm-end-user-id": "acme"}
    assert marks(sent, end_user="acme") == {SIGNED}
    assert marks(sent, end_user=None, requester_custom_headers=header) == {SIGNED}
    # The body names another one, and comes first: the receipt does not say that it is signed.
    both = receipt(sent, end_user="bob", requester_custom_headers=header)
    assert both.billing_account_id == "bob"
    assert OF_SIGNATURES & set(both.marks) == {SIGNED, "account_unsigned"}
    assert marks(signed(SAID, key()), end_user=None, user_api_key_team_id="team-a") == {SIGNED}


REQUIRED = rules(NEW, required=True)


@pytest.mark.parametrize(
    ("said", "team", "payer", "found"),
    [
        (signed(SAID, key(), "acct-1"), "team-a", "acct-1", {SIGNED}),
        (SAID, "team-a", "team-a", {NOT_BELIEVED}),
        (SAID, None, "unattributed", {NOT_BELIEVED}),
        ({**SAID, "billing_signature": "x"}, None, "unattributed", {FORGED, NOT_BELIEVED}),
        (signed(SAID, key(OLD), "acct-1"), None, "unattributed", {UNKNOWN_KEY, NOT_BELIEVED}),
        (signed(SAID, key()), "team-a", "team-a", {SIGNED, NOT_BELIEVED}),
        (None, "team-a", "team-a", {NOT_BELIEVED}),
    ],
)
def test_only_a_signed_account_pays_where_the_operator_asks_for_it(
    said: object, team: str | None, payer: str, found: set[str]
) -> None:
    call = receipt(said, by=REQUIRED, user_api_key_team_id=team)
    assert call.billing_account_id == payer
    assert OF_SIGNATURES & set(call.marks) == found
    assert call.charged_credits > 0
    deferred = verdict(
        element(
            metadata={"spend_logs_metadata": said, "user_api_key_team_id": team}, response_cost=0
        ),
        REQUIRED,
    )
    assert isinstance(deferred, Deferred)
    assert deferred.billing_account_id == payer


def test_the_page_shows_what_is_signed() -> None:
    page = (Path(__file__).parents[2] / "docs/security.md").read_text("utf-8")
    [shown] = re.findall(r"^x-litellm-spend-logs-metadata: (.*)\nsigned: (.*)$", page, re.MULTILINE)
    names = json.loads(shown[0])
    signature = names.pop("billing_signature")
    shown_key = "0123456789abcdef0123456789abcdef"
    assert f"`{shown_key}`" in page
    assert signed(names, f"2026-11={shown_key}", "acme")["billing_signature"] == signature
    of_page = hmac.new(shown_key.encode(), shown[1].encode(), "sha256").hexdigest()
    assert signature == f"v1:2026-11:{of_page}"


def test_a_call_that_names_nothing_is_not_distrusted() -> None:
    call = receipt(None, by=REQUIRED, end_user=None, user_api_key_team_id="team-a")
    assert call.billing_account_id == "team-a"
    assert OF_SIGNATURES & set(call.marks) == set()
    probe = receipt(SAID, by=REQUIRED, user_api_key_team_id="litellm-internal-health-check")
    assert probe.billing_account_id == "internal"
    assert OF_SIGNATURES & set(probe.marks) == set()


def test_the_account_of_a_run_pays_for_its_own_calls_only() -> None:
    """Whoever writes another's run id does not spend the account that was named for that run."""
    by_run = receipt(None, by=REQUIRED, end_user="run-1/2")
    by_names = receipt(SAID, by=REQUIRED, end_user=None)
    genuine = receipt(signed(SAID, key()), by=REQUIRED, end_user=None)
    also = receipt(signed(SAID, key()), by=REQUIRED, end_user="bob")
    assert [may_be_of_run(one) for one in (by_run, by_names, genuine, also)] == [
        False, False, True, True,
    ]  # fmt: skip
    assert of_run(genuine, "acme").billing_account_id == "acme"
    # As long as nobody asks for signatures, both are believed.
    assert may_be_of_run(receipt(None, end_user="run-1/2"))
    assert may_be_of_run(receipt(SAID, end_user=None))


def test_a_deferred_call_is_signed_when_it_is_settled() -> None:
    for sent in (signed(SAID, key(), "acct-1"), {**SAID, "billing_signature": ["a"]}):
        call = element(metadata={"spend_logs_metadata": sent}, response_cost=0)
        kept = kept_of(call)
        assert kept is not None
        found, whole = (
            charged(settled_value(value, charge_of(sent)), rules(NEW)) for value in (kept, call)
        )
        assert found.receipt.marks == whole.receipt.marks
        assert {SIGNED, FORGED} & set(found.receipt.marks)


def charge_of(sent: object) -> Any:  # noqa: ANN401 - an amount
    """Any cost at all."""
    return charged(element(metadata={"spend_logs_metadata": sent})).receipt.response_cost_usd


def test_a_result_has_the_signature_of_the_call_that_ordered_it() -> None:
    create = receipt(signed(SAID, key(), "acct-1"))
    read = charged(element(metadata={"spend_logs_metadata": {**SAID, "billing_signature": "x"}}),
                   rules(NEW))  # fmt: skip
    assert FORGED in read.receipt.marks
    assert OF_SIGNATURES & set(inherit(read, create).receipt.marks) == {SIGNED}


def test_a_run_signs_each_of_its_calls() -> None:
    run = Run("run-1", attempt=2, account="acme", signing_key=key())
    headers = run.call(agent="poet", parent_agent="planner", metadata={"of_its_own": 1}).headers
    said = json.loads(headers["x-litellm-spend-logs-metadata"])
    assert said["of_its_own"] == 1
    assert marks(said, end_user=headers["x-litellm-end-user-id"]) == {SIGNED}
    assert marks({**said, "sub_agent_id": "planner"}, end_user="acme") == {FORGED}
    with pytest.raises(WrongInputError, match="signing_key"):
        run.call(metadata={"billing_signature": "v1:a:b"})


@pytest.mark.parametrize(
    "wrong", ["", "a", f"={'s' * 32}", "a=short", f"a b={'s' * 32}", f"a={'é' * 32}", None]
)
def test_a_wrong_key_is_refused_before_the_call_and_not_shown(wrong: str | None) -> None:
    with pytest.raises(WrongInputError) as refused:
        signed(SAID, wrong)  # type: ignore[arg-type]
    assert "short" not in str(refused.value)
    assert SECRETS[NEW] not in repr(Run("run-1", signing_key=key()).__dict__)


@pytest.mark.parametrize("said", [{}, {**SAID, "run_id": "run/1"}, {**SAID, "sub_agent_id": ""}])
def test_what_cannot_be_signed_is_said_before_the_call(said: dict[str, Any]) -> None:
    with pytest.raises(WrongInputError):
        signed(said, key())


def test_the_operator_names_several_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLING_ATTRIBUTION_KEYS", f"{key(OLD)}, {key(NEW)}")
    monkeypatch.setenv("BILLING_SIGNED_ACCOUNTS_ONLY", "true")
    found = ChargingRules()
    assert found.policy("units").accounts.signatures == SignatureRules(
        {one: SECRETS[one].encode() for one in (OLD, NEW)}, required=True
    )
    for told in (repr(found), repr(found.policy("units"))):
        assert not [secret for secret in SECRETS.values() if secret in told]


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ("n" * 40, "key number 1 must be id=secret"),
        (f"a={'n' * 40},b=kurz", "the secret of key number 2"),
        (f"a={'n' * 40},a={'m' * 40}", "key number 2 has the id of another"),
        (f"a b={'n' * 40}", "key number 1 must be id=secret"),
    ],
)
def test_wrong_keys_are_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, keys: str, why: str
) -> None:
    monkeypatch.setenv("BILLING_ATTRIBUTION_KEYS", keys)
    with pytest.raises(ValueError, match=why) as refused:
        ChargingRules()
    shown = refused.value.errors()[0]["msg"]  # type: ignore[attr-defined]
    assert "nnnn" not in shown
    assert "kurz" not in shown
    monkeypatch.setenv("BILLING_ATTRIBUTION_KEYS", "")
    monkeypatch.setenv("BILLING_SIGNED_ACCOUNTS_ONLY", "true")
    with pytest.raises(ValueError, match="needs BILLING_ATTRIBUTION_KEYS"):
        ChargingRules()
