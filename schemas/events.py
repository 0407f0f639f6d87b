"""What events say, as `json.loads` returns them; generated from the JSON Schemas.

Amounts of money are text in plain decimal notation: `Decimal(receipt["charged_usd"])`, never a
float. Later releases may add fields and values. What is `NotRequired` may be missing: from events
of earlier releases, or because its writer left it out.
"""

from typing import Final, NotRequired, TypedDict

RECEIPTS: Final = "billing.receipts.v1"
"""The topic of the receipts."""
CREDIT_EVENTS: Final = "billing.credits.v1"
"""The topic of the credit events."""
RECEIPT_CREATED: Final = "billing.receipt.created.v1"
"""`ce_type` of a receipt."""
RECEIPT_CORRECTED: Final = "billing.receipt.corrected.v1"
"""`ce_type` of a correction."""
CHECKPOINT: Final = "billing.checkpoint.v1"
"""`ce_type` of a checkpoint."""
RUN_SETTLED: Final = "billing.run.settled.v1"
"""`ce_type` of the total of a run that has ended."""
THRESHOLD_CROSSED: Final = "billing.credits.threshold_crossed.v1"
"""`ce_type` of a credit event."""
EXHAUSTED: Final = "billing.credits.exhausted.v1"
"""`ce_type` of a credit event."""
TOPPED_UP: Final = "billing.credits.topped_up.v1"
"""`ce_type` of a credit event."""
HOLD_EXPIRED: Final = "billing.credits.hold_expired.v1"
"""`ce_type` of a credit event."""


class Receipt(TypedDict):
    """This call was charged this much. Immutable once written (RECEIPTS_ARE_IMMUTABLE)."""

    id: str
    source_system: str
    """`litellm`, or `litellm/<source of the token>`."""
    call_key: str
    """Idempotency key, unique with source_system."""
    litellm_call_id: str | None
    response_id: str
    source_reference: str
    """run/attempt/call key."""
    run_id: str
    """The call key itself where the call names no run."""
    attempt: int
    billing_account_id: str
    response_cost_usd: str
    """LiteLLM's figure, untouched."""
    charged_usd: str
    """response_cost_usd × markup, exact."""
    charged_credits: int
    """charged_usd × 10,000,000, rounded up once."""
    cost_source: str
    charge_reason: str
    """Why the receipt has its amount. One of `cache_hit`, `free_model`, `health_probe`,
    `partial`, `silent_experiment`, `usage`.
    """
    marks: list[str]
    """Further remarks, for instance unattributed_account."""
    occurred_at: str
    """When the call ended."""
    model: str | None
    """The model group the customer asked for, else the model."""
    provider_model: str | None
    provider: str | None
    call_type: str | None
    stream: bool
    tokens_in: int | None
    tokens_out: int | None
    tokens_cached_in: int | None
    tokens_reasoning: int | None
    latency_ms: int | None
    ttft_ms: int | None
    graph_id: str | None
    sub_agent_id: str | None
    parent_sub_agent_id: str | None
    tool_call_id: str | None
    tags: list[str]
    team_id: NotRequired[str | None]
    """The proxy's team of the key, which no client can choose."""
    team_alias: NotRequired[str | None]
    key_alias: NotRequired[str | None]
    """The name of the proxy's key, never the key."""
    organization_id: NotRequired[str | None]
    """The proxy's organisation of the key."""


class Correction(TypedDict):
    """What this receipt charges was put right by this much. Sum these with the receipts."""

    id: str
    receipt_id: str
    number: int
    """1 for the first correction of its receipt."""
    reason: str
    """Why a receipt is corrected. One of `conflict`, `late_usage`, `price`, `refund`, `twin`."""
    reference: str
    """The name that whoever corrected gave it."""
    amount_usd: str
    """Added to charged_usd; may be below zero."""
    amount_credits: int
    """Added to charged_credits; may be below zero."""
    corrected_usd: str
    """What the receipt charges with its corrections up to this one."""
    corrected_credits: int
    """The same in credits, corrected_usd rounded up once."""
    source_system: str
    """Of the receipt, as all that follows."""
    call_key: str
    litellm_call_id: str | None
    response_id: str
    run_id: str
    attempt: int
    billing_account_id: str
    team_id: str | None
    model: str | None
    occurred_at: str
    """When it was corrected."""


class Checkpoint(TypedDict):
    """Everything that was written up to here has this hash."""

    number: int
    """1 for the first; there are no gaps."""
    previous: str
    """The hash of the one before it; zeros for the first."""
    hash: str
    """SHA-256 of the previous hash and of what it covers."""
    seals: int
    """Transactions of the ledger that it covers."""
    records: int
    """Receipts and corrections in them."""
    made_at: str
    """When it was made."""


class OpenCall(TypedDict):
    """A call of the run that has no receipt."""

    reason: str
    """Why it was deferred; no_callback where the executor says that it made the call and nothing
    else is known of it.
    """
    litellm_call_id: str | None
    response_id: str | None
    model: str | None


class RunTotal(TypedDict):
    """This run has ended and has cost this much. Of a run, the highest revision counts."""

    id: str
    run_id: str
    revision: int
    """1 for the first; there is a further one when it changes."""
    completed_at: str
    """When the run ended, as its executor says."""
    calls: int
    """Its receipts."""
    corrections: int
    """Corrections of these."""
    charged_usd: str
    """The sum of its receipts and their corrections."""
    charged_credits: int
    """The same of their credits."""
    open_calls: int
    """Calls without a receipt, which may add to it."""
    open: list[OpenCall]
    """The first hundred of them."""
    settled_at: str
    """When it was summed up."""


class CreditEvent(TypedDict):
    """This happened to an account of credits. `balance` and the like are those behind it."""

    id: str
    type: str
    """What happened to the account. One of `exhausted`, `hold_expired`, `threshold_crossed`,
    `topped_up`.
    """
    billing_account_id: str
    kind: str
    """One of `postpaid`, `prepaid`."""
    balance: int
    """Sum of the account's movements, credits."""
    held: int
    """What calls under way may take of it, credits."""
    limit: int | None
    """How far below zero it may go, credits; null: without end."""
    threshold: int | None
    """Of threshold_crossed: balance and limit together are below it now."""
    amount: int | None
    """Credits that were added, or that the hold has freed."""
    reason: str | None
    """Of topped_up: what added them."""
    litellm_call_id: str | None
    """Of hold_expired: LiteLLM's call."""
    run_id: str | None
    attempt: int | None
    model: str | None
    occurred_at: str
    """When it happened."""


class UsageUnit(TypedDict):
    """One call that an executor says it made, who pays for a run, or that a run has ended.

    Tokens are counts, not money. Times carry a zone and become UTC; years from 1970 to 9998.
    """

    unit_id: str
    """Chosen by the executor; a repeat with the same id is one."""
    run_id: str
    """The run that the call belongs to; also the record's key."""
    attempt: NotRequired[int]
    """Attempt of the run."""
    run_completed: NotRequired[bool]
    """The run has ended: no call begins after this. Other teams are then told what the run has
    cost (`billing.run.settled.v1`). Such a unit names no call: neither `litellm_call_id` nor
    `response_id`.
    """
    billing_account_id: NotRequired[str | None]
    """Who pays for calls of this attempt whose `end_user` names the run, or that name no
    account. It counts for receipts that are written afterwards.
    """
    litellm_call_id: NotRequired[str | None]
    """From the response header x-litellm-call-id."""
    response_id: NotRequired[str | None]
    """The `id` of the response."""
    executor: str
    """Who made the call: a service or an agent runtime."""
    model: NotRequired[str | None]
    """The model that was asked for."""
    graph_id: NotRequired[str | None]
    sub_agent_id: NotRequired[str | None]
    parent_sub_agent_id: NotRequired[str | None]
    tool_call_id: NotRequired[str | None]
    tokens_in: NotRequired[int | None]
    tokens_out: NotRequired[int | None]
    started_at: NotRequired[str | None]
    finished_at: str
    """When the call ended, or the run."""
