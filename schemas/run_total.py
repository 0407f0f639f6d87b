"""The total of a run: what other teams read beside receipts from `billing.receipts.v1`.

It says what a run has cost that its executor says has ended. CloudEvents 1.0 in binary mode of the
Kafka protocol binding, under the key of the run's receipts.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from schemas.cloud_event import Attributes, EventRecord, cloud_event
from schemas.receipt import PLAIN_DECIMAL, plain

EVENT_TYPE: Final = "billing.run.settled.v1"
SOURCE: Final = "/billing/ledger"
MOST_NAMED: Final = 100
"""Calls that an event names; it counts all."""


class OpenCall(msgspec.Struct, frozen=True, gc=False):
    """A call of the run that has no receipt."""

    reason: Annotated[
        str,
        Meta(
            description="Why it was deferred; no_callback where the executor says that it made "
            "the call and nothing else is known of it."
        ),
    ]
    litellm_call_id: str | None
    response_id: str | None
    model: str | None


class RunTotal(msgspec.Struct, frozen=True, gc=False):
    """This run has ended and has cost this much. Of a run, the highest revision counts."""

    id: UUID
    run_id: str
    revision: Annotated[
        int, Meta(ge=1, description="1 for the first; there is a further one when it changes.")
    ]
    completed_at: Annotated[
        datetime, Meta(tz=True, description="When the run ended, as its executor says.")
    ]
    calls: Annotated[int, Meta(ge=0, description="Its receipts.")]
    corrections: Annotated[int, Meta(ge=0, description="Corrections of these.")]
    charged_usd: Annotated[
        Decimal,
        Meta(
            description="The sum of its receipts and their corrections.",
            extra_json_schema={"pattern": PLAIN_DECIMAL},
        ),
    ]
    charged_credits: Annotated[int, Meta(ge=0, description="The same of their credits.")]
    open_calls: Annotated[
        int, Meta(ge=0, description="Calls without a receipt, which may add to it.")
    ]
    open: Annotated[
        list[OpenCall],
        Meta(max_length=MOST_NAMED, description="The first hundred of them."),
    ]
    settled_at: Annotated[datetime, Meta(tz=True, description="When it was summed up.")]


def to_kafka(total: RunTotal) -> EventRecord:
    """Return the Kafka record of a total: key = run id."""
    attributes = Attributes(total.id, SOURCE, EVENT_TYPE, total.run_id, total.settled_at)
    event = replace(total, charged_usd=plain(total.charged_usd))
    return cloud_event(attributes, total.run_id, event)
