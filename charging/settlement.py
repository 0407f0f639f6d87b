"""Settlement: how a deferral ends, as a table of what may become of it. Pure.

The ledger refuses any other step (`transition_is_allowed`) and records each one.
"""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import msgspec

from charging.charge import (
    BREAKDOWN_COST_SOURCE,
    COST_SOURCE,
    SETTLED_COST_SOURCE,
    SPEND_LOG_COST_SOURCE,
)
from charging.decision import is_free
from charging.outcomes import DeferredReason, Resolution


class State(StrEnum):
    """How a deferral stands."""

    OPEN = "open"
    SETTLED = "settled"
    """Its call is charged, or the result that it ordered."""
    WRITTEN_OFF = "written_off"
    """Nothing is charged."""
    REOPENED = "reopened"
    """It was written off, and a charge of the same call came: a person decides."""
    UPHELD = "upheld"
    """It stays written off although its call has a receipt, which a person gives back."""


class Event(StrEnum):
    """What may happen to a deferral."""

    CALLBACK = "a later callback of the call has a cost"
    SPEND_LOG = "LiteLLM's spend log has its cost"
    BREAKDOWN = "the operator's rule takes its `cost_breakdown`"
    PERSON = "a person says what it cost"
    RESULT = "the result that it ordered is charged"
    GIVEN_UP = "the response that it ordered failed or was cancelled"
    WAIVER = "a person waives it"
    ACCEPTANCE = "a person accepts the charge"


MOVES: Final[Mapping[tuple[State, Event], Resolution]] = MappingProxyType({
    (State.OPEN, Event.CALLBACK): Resolution.CALLBACK,
    (State.OPEN, Event.SPEND_LOG): Resolution.SPEND_LOG,
    (State.OPEN, Event.BREAKDOWN): Resolution.COST_BREAKDOWN,
    (State.OPEN, Event.PERSON): Resolution.SETTLED,
    (State.OPEN, Event.RESULT): Resolution.RESULT,
    (State.OPEN, Event.GIVEN_UP): Resolution.NO_CHARGE,
    (State.OPEN, Event.WAIVER): Resolution.WAIVED,
    (State.WRITTEN_OFF, Event.CALLBACK): Resolution.REOPENED,
    (State.WRITTEN_OFF, Event.SPEND_LOG): Resolution.REOPENED,
    (State.WRITTEN_OFF, Event.BREAKDOWN): Resolution.REOPENED,
    (State.WRITTEN_OFF, Event.PERSON): Resolution.REOPENED,
    (State.REOPENED, Event.ACCEPTANCE): Resolution.ACCEPTED,
    (State.REOPENED, Event.WAIVER): Resolution.UPHELD,
})  # fmt: skip
"""Every step there is; whatever else happens to a deferral leaves it as it stands."""

CHARGES: Final[Mapping[str, Event]] = MappingProxyType({
    COST_SOURCE: Event.CALLBACK,
    SPEND_LOG_COST_SOURCE: Event.SPEND_LOG,
    BREAKDOWN_COST_SOURCE: Event.BREAKDOWN,
    SETTLED_COST_SOURCE: Event.PERSON,
})  # fmt: skip
"""By the cost source of a receipt, what it is to the deferral of its call."""

_WRITTEN_OFF: Final = frozenset({Resolution.WAIVED, Resolution.NO_CHARGE})


def state_of(resolution: str | None) -> State:
    """Return how a deferral of this resolution stands."""
    if resolution is None:
        return State.OPEN
    if resolution in _WRITTEN_OFF:
        return State.WRITTEN_OFF
    if resolution in {State.REOPENED, State.UPHELD}:
        return State(resolution)
    return State.SETTLED


def moved(resolution: str | None, event: Event) -> Resolution | None:
    """Return the resolution after `event`; None where it leaves the deferral as it stands."""
    return MOVES.get((state_of(resolution), event))


def charged(resolution: str | None, cost_source: str) -> Resolution | None:
    """Return the resolution that a receipt of the call brings; None where it changes nothing."""
    return moved(resolution, CHARGES.get(cost_source, Event.CALLBACK))


class BreakdownRule(msgspec.Struct, frozen=True):
    """Which deferrals the operator settles with their `cost_breakdown`: of which models, how old.

    `models` are glob patterns over model groups; none of them switches the rule off.
    """

    models: tuple[str, ...]
    after: timedelta

    def takes(
        self, reason: str, model: str | None, suggested_cost_usd: Decimal | None, age: timedelta
    ) -> bool:
        """Say whether the rule settles an open deferral.

        Only one whose suggestion is a breakdown's: that of a read is the read's own cost.
        """
        return (
            reason in {DeferredReason.SUSPICIOUS_ZERO, DeferredReason.MISSING_COST}
            and suggested_cost_usd is not None
            and suggested_cost_usd > 0
            and age >= self.after
            and is_free(model or "", self.models)
        )
