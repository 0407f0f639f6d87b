"""The sentences of `explain`: what each outcome and reason means, and what a person may do."""

from collections.abc import Iterable, Mapping
from typing import Final

from charging.charge import (
    BREAKDOWN_COST_SOURCE,
    SETTLED_COST_SOURCE,
    SPEND_LOG_COST_SOURCE,
)
from charging.money import trimmed
from charging.outcomes import DeferredReason, Resolution, SkippedReason
from charging.signature import ACCOUNT_UNSIGNED, FORGED, NOT_BELIEVED, SIGNED, UNKNOWN_KEY
from runtime.rows import Row
from schemas.headers import Reason
from schemas.receipt import ChargeReason, plain

SETTLED: Final[Mapping[str, str]] = {
    SETTLED_COST_SOURCE: "a person said what the call cost",
    BREAKDOWN_COST_SOURCE: "the operator's rule took the cost from the callback's `cost_breakdown`",
    SPEND_LOG_COST_SOURCE: "LiteLLM's spend log has the cost",
}
"""By the cost source of a receipt whose cost no callback of LiteLLM's named."""
CHARGED: Final[Mapping[ChargeReason, str]] = {
    ChargeReason.USAGE: "LiteLLM said what the call cost",
    ChargeReason.PARTIAL: "the stream broke after output had begun; the cost is LiteLLM's estimate",
    ChargeReason.CACHE_HIT: "LiteLLM answered from its cache, which costs nothing",
    ChargeReason.FREE_MODEL: "BILLING_FREE_MODELS says that the model is free",
    ChargeReason.HEALTH_PROBE: "LiteLLM probed the model itself; no customer asked",
    ChargeReason.SILENT_EXPERIMENT: "LiteLLM made a silent experiment; no customer asked",
}
DEFERRED: Final[Mapping[DeferredReason, tuple[str, str]]] = {
    DeferredReason.SUSPICIOUS_ZERO: (
        "the callback's cost is 0, and the model is not declared free",
        "set the model's price in LiteLLM, then `billing deferred settle` or `waive`",
    ),
    DeferredReason.MISSING_COST: (
        "the callback names no cost",
        "look for the price in LiteLLM, then `billing deferred settle` or `waive`",
    ),
    DeferredReason.UNUSABLE_COST: (
        "the callback's cost is no amount of money: negative, infinite, a text or out of range",
        "correct the model's price in LiteLLM, then `billing deferred settle` or `waive`",
    ),
    DeferredReason.AWAITING_RESULT: (
        "the call ordered a background response, and no result with a cost has come yet",
        "wait a day: a read of the result closes it. After that, `billing deferred settle`",
    ),
    DeferredReason.AWAITING_CREATE: (
        "the call read a background response, and the callback of its order has not come yet",
        "wait a day: the order's callback closes it. After that, `billing deferred settle`",
    ),
    DeferredReason.AMBIGUOUS_READ: (
        "the call read a result, and nothing tells which call ordered it",
        "if the result is charged already, `billing deferred waive`; otherwise `settle`",
    ),
}
SKIPPED: Final[Mapping[SkippedReason, str]] = {
    SkippedReason.TOMBSTONE: "the record has no value",
    SkippedReason.SELF_TEST: "it is LiteLLM's own test of the callback",
    SkippedReason.FAILED_CALL: "the call failed and cost nothing",
    SkippedReason.REFUSED_CALL: "the spend guard refused it before a model was asked",
    SkippedReason.NOT_BILLABLE: "it is a management call, which makes no model work",
    SkippedReason.NO_USAGE: "its call type is unknown, and it has no cost and no tokens",
}
PARKED: Final[Mapping[Reason, str]] = {
    Reason.UNREADABLE: "the bytes are not JSON that can be read",
    Reason.NOT_AN_OBJECT: "the value is JSON, but not an object",
    Reason.NO_USABLE_ID: "neither `id` nor `litellm_call_id` names the call",
    Reason.CONTRACT_BROKEN: "`status` is missing or not a text, or a usage unit breaks its schema",
    Reason.TOO_LARGE: "it is larger than what can be read or stored",
    Reason.HEADERS_UNREADABLE: "its headers cannot be read, and one of them says whose call it is",
    Reason.UNSTORABLE: "PostgreSQL refused its row",
}
CLOSED: Final[Mapping[Resolution, str]] = {
    Resolution.CALLBACK: "a later callback of the call had a cost",
    Resolution.SETTLED: "a person said what it cost",
    Resolution.RESULT: "its result was charged",
    Resolution.NO_CHARGE: "the background response failed or was cancelled, and cost nothing",
    Resolution.WAIVED: "a person waived it: it is not charged",
    Resolution.SPEND_LOG: "LiteLLM's spend log had the cost",
    Resolution.COST_BREAKDOWN: "the operator's rule took its `cost_breakdown`",
    Resolution.REOPENED: "but a charge came after all, and a person has to decide: accept it, or "
    "waive it again",
    Resolution.ACCEPTED: "a person had waived it, and accepted a charge that came after all",
    Resolution.UPHELD: "a person waived it again although a charge came: the receipt is to be "
    "given back",
}
MISSPELT: Final = "attribution_misspelt"
"""The mark that explain replaces with the name itself, where it sees the callback."""
MARKS: Final[Mapping[str, str]] = {
    "unattributed_account": "No field of BILLING_ACCOUNT_FROM named an account, so the call is "
    "charged to BILLING_UNATTRIBUTED_ACCOUNT.",
    "run_as_end_user": "The callback's `end_user` names its run, so another field of "
    "BILLING_ACCOUNT_FROM named the account, if any, or the account that was named for the run.",
    "account_of_run": "An executor named this account for the run, in a usage unit.",
    "unattributed_run": "The callback named no run.",
    "attribution_unreadable": "A field that says whose call it is could not be read, such as an "
    "x-litellm-spend-logs-metadata that is no JSON object.",
    MISSPELT: "A name in the metadata is misspelt, such as `runId`, and what it says is missing: "
    "write `run_id`, `attempt`, `graph_id`, `sub_agent_id`, `parent_sub_agent_id` and "
    "`tool_call_id`.",
    SIGNED: "The names of its run and agents are signed.",
    ACCOUNT_UNSIGNED: "The account that the client names is not in the signature.",
    FORGED: "The call has a signature that is none of these names: somebody has changed them, or "
    "signs in another way than docs/security.md says.",
    UNKNOWN_KEY: "The call is signed by a key that BILLING_ATTRIBUTION_KEYS does not have.",
    NOT_BELIEVED: "No valid signature covers the account or the run that the client names, so "
    "neither says who pays (BILLING_SIGNED_ACCOUNTS_ONLY).",
    "client_disconnected": "The client disconnected before the stream ended.",
}
NO_KAFKA: Final = (
    "KAFKA_BOOTSTRAP_SERVERS is not set, so Kafka was not searched: skipped calls and duplicate "
    "callbacks leave no row in the ledger, and parked ones are in Kafka only."
)


def remarks(marks: Iterable[str], *, known: bool) -> list[str]:
    """Return what the marks of a receipt mean; `known` says that each misspelling is told apart."""
    return [MARKS[mark] for mark in marks if mark in MARKS and not (known and mark == MISSPELT)]


def contradiction(row: Row) -> str:
    """Return what a conflict of a receipt says."""
    return (
        f"A callback contradicts the receipt: {plain(row['response_cost_usd'])} USD on account "
        f"{row['billing_account_id']}. It is stored as a conflict; the receipt stays as it is."
    )


def correction(row: Row) -> str:
    """Return what a correction of a receipt says."""
    note = f": {row['note']}" if row["note"] else ""
    return (
        f"Corrected by {trimmed(row['amount_usd'])} USD ({plain(row['amount_credits'])} credits), "
        f"{row['reason']}, by {row['person']} under {row['reference']}{note}. It charges "
        f"{trimmed(row['corrected_usd'])} USD ({plain(row['corrected_credits'])} credits) since."
    )


def misspelling(name: str, right: str) -> str:
    """Return what is wrong with a name in the metadata, and what to write."""
    missing = "Run id missing: the" if right == "run_id" else "The"
    return f"{missing} metadata says `{name}`; write `{right}`."
