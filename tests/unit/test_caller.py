"""Whose key made a call: what the proxy says, on receipts and deferrals, and never the key."""

import hashlib
from datetime import UTC, datetime

import pytest

from charging.background import deferred_of, inherit
from charging.caller import key_hash
from charging.outcomes import Caller, Charge, Deferred, DeferredReason
from tests.inputs.callbacks import ENDED, charged, element, policy, verdict

HASH = "0a" * 32
SAID = {
    "user_api_key_team_id": "team-a",
    "user_api_key_team_alias": "Team A",
    "user_api_key_alias": "team-a-gateway",
    "user_api_key_hash": HASH,
    "user_api_key_user_id": "user-alice",
    "user_api_key_org_id": "org-1",
}
CALLER = Caller("team-a", "Team A", "team-a-gateway", HASH, "user-alice", "org-1")
AGENTS = {"run_id": "run-1", "sub_agent_id": "writer", "parent_sub_agent_id": "editor"}


def caller(charge: Charge) -> Caller:
    """The caller of a charge, of its receipt and of what stands beside that."""
    r = charge.receipt
    return Caller(
        r.team_id, r.team_alias, r.key_alias, charge.key_hash, charge.user_id, r.organization_id
    )


def test_a_deferral_says_as_much_of_its_caller_as_a_receipt() -> None:
    metadata = {**SAID, "spend_logs_metadata": AGENTS}
    charge = charged(element(metadata=metadata))
    deferred = verdict(element(metadata=metadata, response_cost=None))
    assert isinstance(deferred, Deferred)
    assert caller(charge) == deferred.caller == CALLER
    assert charge.started_at == deferred.started_at == datetime.fromtimestamp(ENDED - 1.5, UTC)
    assert deferred.billing_account_id == charge.receipt.billing_account_id == "acct-1"
    assert (deferred.sub_agent_id, deferred.parent_sub_agent_id) == ("writer", "editor")
    assert list(deferred.tags) == charge.receipt.tags == ["blue"]


def test_a_deferral_names_the_account_that_its_receipt_would_charge() -> None:
    def account(**fields: object) -> str | None:
        found = verdict(element(response_cost=0, **fields))
        assert isinstance(found, Deferred)
        return found.billing_account_id

    assert account() == "acct-1"
    assert account(end_user="run-1/2", metadata=SAID) == "team-a"
    assert account(end_user=None) == "unattributed"
    probe = {"user_api_key_team_id": "litellm-internal-health-check"}
    assert account(metadata=probe) == "internal"


def test_a_deferral_that_waits_for_its_other_callback_keeps_the_caller_of_its_charge() -> None:
    charge = charged(element(metadata={**SAID, "spend_logs_metadata": AGENTS}))
    waiting = deferred_of(charge, DeferredReason.AWAITING_CREATE, "key")
    assert waiting.caller == CALLER
    assert waiting.started_at == charge.started_at
    assert waiting.sub_agent_id == "writer"


def test_the_receipt_of_a_result_is_of_the_team_that_ordered_it() -> None:
    ordered = charged(element(metadata=SAID)).receipt
    read = charged(element(metadata={"user_api_key_team_id": "others"}))
    assert inherit(read, ordered).receipt.team_id == "team-a"
    assert inherit(read, ordered).receipt.organization_id == "org-1"


@pytest.mark.parametrize(
    "known", [HASH, f"hashed-jwt-{HASH}", "litellm_proxy_master_key", "litellm-cli"]
)
def test_the_hash_of_a_key_stays_as_litellm_has_it(known: str) -> None:
    assert key_hash(known) == known


@pytest.mark.parametrize("key", ["sk-1234", "my-own-secret", HASH.upper(), f"{HASH}\n", "s\0k"])
def test_a_key_in_the_place_of_its_hash_is_hashed(key: str) -> None:
    """A proxy with its own login may send one; LiteLLM's table has the SHA-256 of its keys."""
    charge = charged(element(metadata={"user_api_key_hash": key}))
    assert charge.key_hash == hashlib.sha256(key.encode()).hexdigest()
    assert key not in repr(charge)


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_what_says_nothing_is_nothing(nothing: str | None) -> None:
    charge = charged(element(metadata=dict.fromkeys(SAID, nothing)))
    assert caller(charge) == Caller()
    assert charge.receipt.marks == ["unattributed_run"]


def test_odd_types_are_read_where_their_meaning_is_plain_and_marked_where_they_are_dropped() -> (
    None
):
    charge = charged(element(metadata={**SAID, "user_api_key_team_id": 17}))
    assert charge.receipt.team_id == "17"
    charge = charged(element(metadata={**SAID, "user_api_key_team_alias": ["a"]}))
    assert charge.receipt.team_alias is None
    assert "attribution_unreadable" in charge.receipt.marks


def test_texts_are_bounded_and_made_storable_as_the_others_are() -> None:
    charge = charged(
        element(metadata={"user_api_key_team_alias": "a\0b", "user_api_key_alias": "k" * 5_000})
    )
    assert charge.receipt.team_alias == "a\ufffdb"
    assert len(charge.receipt.key_alias or "") < 300
    assert "text_replaced" in charge.receipt.marks


def test_a_call_of_an_old_receipt_stays_its_duplicate() -> None:
    """Nothing that the ledger did not keep before is a part of the content that is compared."""
    plain = charged(element())
    assert charged(element(metadata={**SAID, "spend_logs_metadata": AGENTS})).content_hash == (
        plain.content_hash
    )
    assert plain.content_hash == "4943cafcf386ef62c56a207caad0c711f1243f7b7622ab0962e495edc806e3d8"


@pytest.mark.parametrize(
    ("start", "began"),
    [(None, None), (ENDED + 10, ENDED + 10), (1e300, None), (0, None), ("soon", None)],
)
def test_a_start_that_is_not_believed_is_none(start: object, began: float | None) -> None:
    charge = charged(element(startTime=start), policy())
    assert charge.started_at == (began and datetime.fromtimestamp(began, UTC))
