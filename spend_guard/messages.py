"""What is asked and answered over HTTP, as others may rely on it."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from charging.holds import Kind
from charging.money import charge
from ledger.accounts import Reason

MOST_CREDITS: Final = 10**13
"""Of one hold: a million US dollars."""
_USD: Final = r"^[0-9]{1,6}(\.[0-9]{1,30})?$"
_PRICE: Final = r"^[0-9]{1,3}(\.[0-9]{1,30})?$"
_MOST_TOKENS: Final = 10**9
_MOST_ANSWERS: Final = 1_000
_SIGNED_USD: Final = r"^-?[0-9]{1,9}(\.[0-9]{1,7})?$"

Name = Annotated[str, Field(min_length=1, max_length=16_384)]
Credits = Annotated[int, Field(description="Credits: 10,000,000 are 1 US dollar.")]
Price = Annotated[
    str | None,
    Field(
        pattern=_PRICE,
        description="US dollars for a token as decimal text; null: not known. Counts for a model "
        "without learned rates. A price of the other kind alone makes this one 0.",
    ),
]


class EstimateAsk(BaseModel):
    """What the cost of a call is estimated by; the markup is added."""

    model_config = ConfigDict(title="EstimateAsk")

    prompt_tokens: Annotated[int, Field(strict=True, ge=0, le=_MOST_TOKENS)]
    max_tokens: Annotated[
        int | None,
        Field(
            strict=True,
            ge=0,
            le=_MOST_TOKENS,
            description="Longest answer that the client allows; null: any length; 0: the call has "
            "no answer of tokens.",
        ),
    ] = None
    n: Annotated[
        int, Field(strict=True, ge=1, le=_MOST_ANSWERS, description="Answers to the prompt.")
    ] = 1
    input_price_usd: Price = None
    output_price_usd: Price = None


class HoldAsk(BaseModel):
    """A call that is about to be made, and what it may cost at most."""

    model_config = ConfigDict(title="HoldAsk")

    account: Name
    litellm_call_id: Name
    nonce: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9._:-]{1,64}$",
            description="Of whoever asks, new for each request of a client: with account and call "
            "id it makes an ask the same when it is sent again.",
        ),
    ]
    amount_usd: Annotated[
        str | None,
        Field(
            pattern=_USD,
            description="US dollars at LiteLLM's prices as decimal text; the markup is added. "
            "This, or `amount_credits`, which is held as it is, or `estimate`.",
        ),
    ] = None
    amount_credits: Annotated[int | None, Field(strict=True, ge=0, le=MOST_CREDITS)] = None
    estimate: Annotated[
        EstimateAsk | None,
        Field(
            description="The guard computes the amount, by the rates that it has learned of "
            "`model`, which is needed then: the model group, as receipts have it. No more than "
            f"{MOST_CREDITS} credits."
        ),
    ] = None
    run_id: Annotated[str | None, Field(max_length=16_384)] = None
    account_of_run: Annotated[
        bool,
        Field(
            strict=True,
            description="The call names no account, or its run first: the account counts instead "
            "that an executor has named for the run.",
        ),
    ] = False
    attempt: Annotated[int | None, Field(strict=True, ge=0, le=2**31 - 1)] = None
    model: Annotated[str | None, Field(max_length=16_384)] = None
    expires_in_seconds: Annotated[
        int | None,
        Field(strict=True, ge=1, le=2**31 - 1, description="Bounded by the guard's own setting."),
    ] = None
    answer_within_ms: Annotated[
        int | None,
        Field(
            strict=True,
            ge=1,
            le=2**31 - 1,
            description="How long whoever asks waits for the answer, milliseconds: an ask that "
            "cannot be answered in time gets 503 before that, and nothing is held.",
        ),
    ] = None

    @model_validator(mode="after")
    def _one_amount(self) -> Self:
        ways = (self.amount_usd, self.amount_credits, self.estimate)
        if sum(way is not None for way in ways) != 1:
            raise ValueError("name the amount as one of amount_usd, amount_credits and estimate")
        if self.estimate is not None and not self.model:
            raise ValueError("an estimate needs the model")
        return self


class HoldAnswer(BaseModel):
    """The call may be made."""

    hold: UUID | None = Field(description="Of the hold; null where there is nothing to hold.")
    account: str
    amount: Credits
    expires_at: datetime | None
    available: int | None = Field(description="Credits left behind it; null: without end.")
    kind: Kind
    plenty: bool = Field(description="Whether further calls may pass for a moment without asking.")
    state: str | None = Field(description="`held`, unless the same ask was answered long ago.")


class Release(BaseModel):
    """A hold as it is behind a release; one that had ended before stays as it ended."""

    hold: UUID
    account: str
    amount: Credits
    state: Literal["captured", "released", "expired"]


class AccountAnswer(BaseModel):
    """An account as it is now."""

    account: str
    kind: Kind
    balance: Credits
    held: Credits
    limit: int | None = Field(
        description="How far below zero holds may take it; null: without end."
    )
    available: int | None = Field(description="What holds may still take; null: without end.")
    opened_at: datetime


class EntryAnswer(BaseModel):
    """A movement of credits, signed; `balance` is that of the account behind it."""

    id: int
    account: str
    reason: str
    reference: str
    amount: Credits
    balance: Credits
    batch: int | None
    receipts: int | None
    person: str | None
    note: str | None
    created_at: datetime


class EntriesAnswer(BaseModel):
    """A page of movements, the newest first."""

    entries: list[EntryAnswer]
    next: int | None = Field(description="`before` of the next page; null: this is the last one.")


class EntryAsk(BaseModel):
    """A movement that a person makes."""

    reason: Reason
    amount_usd: Annotated[
        str | None, Field(pattern=_SIGNED_USD, description="This or `amount_credits`.")
    ] = None
    amount_credits: Annotated[int | None, Field(strict=True, ge=-(10**16), le=10**16)] = None
    person: Annotated[str, Field(min_length=1, max_length=1_024)]
    note: Annotated[str, Field(max_length=4_096)] = ""

    @model_validator(mode="after")
    def _one_amount(self) -> Self:
        if (self.amount_usd is None) is (self.amount_credits is None):
            raise ValueError("name the amount as amount_usd or as amount_credits")
        return self

    @property
    def amount(self) -> int:
        """The amount in whole credits; a text has no more digits than these have."""
        if self.amount_credits is not None:
            return self.amount_credits
        return charge(Decimal(self.amount_usd or 0), Decimal(1))[1]


class Fault(BaseModel):
    """Why a request is refused; `message` reads as plain text."""

    message: str
    type: str
    account: str | None = None
    required: int | None = None
    available: int | None = None


class Refused(BaseModel):
    """The answer to a request that is refused."""

    error: Fault


def refused(message: str, kind: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return the JSON of a refusal."""
    return {"error": {"message": message, "type": kind, **more}}
