"""The sentences of `explain`: what each outcome and reason means, and what a person may do."""

from collections.abc import Mapping
from typing import Final

from charging.outcomes import DeferredReason, Resolution, SkippedReason
from schemas.headers import Reason
from schemas.receipt import ChargeReason

CHARGED: Final[Mapping[ChargeReason, str]] = {
    ChargeReason.USAGE: "LiteLLM said what the call cost",
    ChargeReason.PARTIAL: "the stream broke after output had begun; the cost is LiteLLM's estimate",
    ChargeReason.CACHE_HIT: "LiteLLM answered from its cache, which costs nothing",
    ChargeReason.FREE_MODEL: "BILLING_FREE_MODELS says that the model is free",
    ChargeReason.HEALTH_PROBE: "LiteLLM probed the model itself; no customer asked",
    ChargeReason.SILENT_EXPERIMENT: "LiteLLM made a shadow call; no customer asked",
}
DEFERRED: Final[Mapping[DeferredReason, tuple[str, str]]] = {
    DeferredReason.SUSPICIOUS_ZERO: (
        "the callback says a cost of 0, and nobody declared the model free",
        "set the model's price in LiteLLM, then `billing deferred settle` or `waive`",
    ),
    DeferredReason.MISSING_COST: (
        "the callback says no cost",
        "look for the price in LiteLLM, then `billing deferred settle` or `waive`",
    ),
    DeferredReason.UNUSABLE_COST: (
        "the callback's cost is no amount of money: negative, infinite, a text or out of range",
        "mend the model's price in LiteLLM, then `billing deferred settle` or `waive`",
    ),
    DeferredReason.AWAITING_RESULT: (
        "the call ordered a response that is made in the background, and no result has come",
        "wait a day: a read of the result closes it. After that, `billing deferred settle`",
    ),
    DeferredReason.AWAITING_CREATE: (
        "the call read a background response, and the callback of its order has not come",
        "wait a day: the order's callback closes it. After that, `billing deferred settle`",
    ),
    DeferredReason.AMBIGUOUS_READ: (
        "the call read a result, and nothing tells whether another call has paid for it",
        "look whether it is charged already; then `billing deferred waive`, else `settle`",
    ),
}
SKIPPED: Final[Mapping[SkippedReason, str]] = {
    SkippedReason.TOMBSTONE: "the record has no value",
    SkippedReason.SELF_TEST: "it is LiteLLM's test of the callback itself",
    SkippedReason.FAILED_CALL: "the call failed and cost nothing",
    SkippedReason.NOT_BILLABLE: "a call of this type manages things and makes no model work",
    SkippedReason.NO_USAGE: "the callback says no cost and no tokens",
}
PARKED: Final[Mapping[Reason, str]] = {
    Reason.UNREADABLE: "the bytes are no JSON that can be read",
    Reason.NOT_AN_OBJECT: "the value is JSON, and no object",
    Reason.NO_USABLE_ID: "neither `id` nor `litellm_call_id` names the call",
    Reason.CONTRACT_BROKEN: "a field that billing needs is missing or of a wrong type",
    Reason.TOO_LARGE: "it is larger than what is read or stored",
    Reason.HEADERS_UNREADABLE: "its headers cannot be read, and one of them says whose it is",
    Reason.UNSTORABLE: "PostgreSQL refused its row",
}
CLOSED: Final[Mapping[Resolution, str]] = {
    Resolution.CALLBACK: "a later callback of the call had a cost",
    Resolution.SETTLED: "a person said what it cost",
    Resolution.RESULT: "its result is charged",
    Resolution.NO_CHARGE: "the background response was given up and cost nothing",
    Resolution.WAIVED: "a person waived it: it is not charged",
}
MISSPELT: Final = "attribution_misspelt"
MARKS: Final[Mapping[str, str]] = {
    "unattributed_account": "No field of BILLING_ACCOUNT_FROM named an account, so the account is "
    "the one for such calls (BILLING_UNATTRIBUTED_ACCOUNT).",
    "unattributed_run": "The callback named no run.",
    "attribution_unreadable": "A field that says whose call it is could not be read, such as an "
    "x-litellm-spend-logs-metadata that is no JSON object.",
    MISSPELT: "A name in the metadata is misspelt, such as `runId`, and what it says is missing: "
    "write `run_id`, `attempt`, `graph_id`, `sub_agent_id`, `parent_sub_agent_id` and "
    "`tool_call_id`.",
    "client_disconnected": "The client left before the end of the stream.",
}
NO_KAFKA: Final = (
    "KAFKA_BOOTSTRAP_SERVERS is not set: skipped calls and duplicate callbacks leave no row, and "
    "parked ones stand in Kafka, so nobody can say here whether there were any."
)
