"""The usage unit: an executor's statement "I made call X in run R", with no cost in it.

ADAPTERS_NEVER_BILL: a usage unit is compared with receipts; it never becomes one.
"""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from schemas.text import identifier

Name = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"\S")]


class UsageUnit(BaseModel):
    """One call that an executor says it made. Times carry a zone; tokens are counts, not money."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    unit_id: UUID = Field(description="Chosen by the executor; a repeat with the same id is one.")
    run_id: Name = Field(description="The run that the call belongs to; also the record's key.")
    attempt: int = Field(default=0, ge=0, le=2_147_483_647, description="Attempt of the run.")
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
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime

    def key(self) -> bytes:
        """Return the Kafka key: the run id in the form that it has on the callbacks topic."""
        return identifier(self.run_id).encode()

    @property
    def occurred_at(self) -> datetime:
        """When the call ended."""
        return self.finished_at
