"""What the reconciler's commands tell of the demo's calls: what is lost, and the audit."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from demo import commands

_BALANCES, _DOES_NOT = 0, 1
_ROWS = "LiteLLM log rows"


@dataclass(frozen=True, kw_only=True)
class Line:
    """How many rows of LiteLLM's log became one thing, and what they cost; money in USD."""

    what: str
    calls: int
    log_usd: Decimal
    receipts_usd: Decimal


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Whether LiteLLM's log and the books add up; what its rows became, and their sum."""

    balanced: bool
    lines: tuple[Line, ...]
    rows: Line


class Reconciler:
    """The reconciler's commands for calls that began from `since` on.

    Args:
        reach: the environment file of the stack, with a spend log.
        rules: what the consumer was given on top of this process's environment.
        since: when the calls began.
    """

    def __init__(self, reach: Mapping[str, str], rules: Mapping[str, str], since: datetime) -> None:
        self._since = since.replace(microsecond=0)
        self._environment = {
            **os.environ,
            **rules,
            **{
                name: reach[name]
                for name in ("GATEWAY_URL", "BILLING_INGEST_TOKEN", "DATABASE_URL")
            },
            "LITELLM_URL": reach["SPEND_LOG_URL"],
            "LITELLM_API_KEY": reach["LITELLM_MASTER_KEY"],
            "RECONCILER_SOURCE": "",
            "RECONCILER_GRACE_S": "0",  # a demo waits for no late callback
        }

    def post_what_is_lost(self) -> int:
        """Make one pass; how many lost calls it has posted to the gateway.

        Raises `StackError` where the command fails.
        """
        return int(json.loads(self._told("once"))["reposted"])

    def audit(self) -> Audit:
        """Compare LiteLLM's log with the books. Raises `StackError` where the command fails."""
        told = json.loads(self._told("audit", codes=(_BALANCES, _DOES_NOT)))
        lines = [
            Line(
                what=line["what"],
                calls=line["calls"],
                log_usd=Decimal(line["log_usd"]),
                receipts_usd=Decimal(line["receipts_usd"]),
            )
            for line in told["lines"]
        ]
        rows = next(line for line in lines if line.what == _ROWS)
        became = tuple(line for line in lines if line is not rows and line.calls)
        return Audit(balanced=told["balanced"], lines=became, rows=rows)

    def _told(self, command: str, codes: tuple[int, ...] = (0,)) -> str:
        until = datetime.now(UTC) + timedelta(seconds=1)
        period = ("--from", self._since.isoformat(), "--to", until.isoformat())
        return commands.run(
            "reconciler", command, *period, "--json", environment=self._environment, codes=codes
        )
