"""The usage unit: an executor's statement "I made call X in run R", with no cost in it.

ADAPTERS_NEVER_BILL: a usage unit is compared with receipts; it never becomes one.
"""

from datetime import UTC, datetime
from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from schemas.text import identifier

_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 9998
_SINCE_0_2: Final = frozenset({"billing_account_id", "run_completed"})
"""Fields that a consumer of 0.2.0 does not know: it parks each unit that has one."""


def _in_utc(moment: datetime) -> datetime:
    """Return `moment` in UTC: there are offsets and years that the table or its readers refuse.

    PostgreSQL takes offsets under sixteen hours, and Python cannot read a time back that is beyond
    the year 9999 in the reader's zone. Raises `ValueError` outside 1970 to 9998.
    """
    try:
        found = moment.astimezone(UTC)
    except OverflowError:
        found = None
    if found is None or not _FIRST_YEAR <= found.year <= _LAST_YEAR:
        raise ValueError(f"must lie in the years {_FIRST_YEAR} to {_LAST_YEAR}")
    return found


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"\S")]


class UsageUnit(BaseModel):
    """One call that an executor says it made, who pays for a run, or that a run has ended.

    Tokens are counts, not money. Times carry a zone and become UTC; years from 1970 to 9998.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    unit_id: UUID = Field(description="Chosen by the executor; a repeat with the same id is one.")
    run_id: Name = Field(description="The run that the call belongs to; also the record's key.")
    attempt: int = Field(default=0, ge=0, le=2_147_483_647, description="Attempt of the run.")
    run_completed: bool = Field(
        default=False,
        description="The run has ended: no call begins after this. Other teams are then told what "
        "the run has cost (`billing.run.settled.v1`). Such a unit names no call: neither "
        "`litellm_call_id` nor `response_id`.",
    )
    billing_account_id: Name | None = Field(
        default=None,
        description="Who pays for calls of this attempt whose `end_user` names the run, or that "
        "name no account. It counts for receipts that are written afterwards.",
    )
    litellm_call_id: Name | None = Field(
        default=None, description="From the response header x-litellm-call-id."
    )
    response_id: Name | None = Field(default=None, description="The `id` of the response.")
    executor: Name = Field(description="Who made the call: a service or an agent runtime.")
    model: Name | None = Field(default=None, description="The model that was asked for.")
    graph_id: Name | None = None
    sub_agent_id: Name | None = None
    parent_sub_agent_id: Name | None = None
    tool_call_id: Name | None = None
    tokens_in: int | None = Field(default=None, ge=0, le=9_007_199_254_740_991)
    tokens_out: int | None = Field(default=None, ge=0, le=9_007_199_254_740_991)
    started_at: Moment | None = None
    finished_at: Moment = Field(description="When the call ended, or the run.")

    @model_validator(mode="after")
    def _the_end_of_a_run_is_no_call(self) -> Self:
        if self.run_completed and (self.litellm_call_id, self.response_id) != (None, None):
            raise ValueError(
                "a unit with run_completed names no call: post litellm_call_id and response_id in "
                "a unit of their own"
            )
        return self

    def key(self) -> bytes:
        """Return the Kafka key: the run id in the form that it has on the callbacks topic."""
        return identifier(self.run_id).encode()

    def value(self) -> bytes:
        """Return the Kafka value, as JSON.

        A newer field is left out where it says nothing, so that older consumers take the unit.
        """
        silent = {name for name in _SINCE_0_2 if not getattr(self, name)}
        return self.model_dump_json(exclude=silent).encode()

    @property
    def occurred_at(self) -> datetime:
        """When the call ended, or the run."""
        return self.finished_at
