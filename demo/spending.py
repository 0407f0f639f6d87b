"""What the demo's calls have cost, as `billing spend` tells it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from demo import commands


@dataclass(frozen=True, kw_only=True)
class Run:
    """The sum of a run, or of all calls that name none; money in USD."""

    run_id: str | None
    calls: int
    response_cost_usd: Decimal
    charged_usd: Decimal
    charged_credits: int


@dataclass(frozen=True, kw_only=True)
class SubAgent(Run):
    """The sum of a sub-agent in a run; without a name, of the run's own calls.

    `credits_below` has those of its own sub-agents in it, `depth` says how many stand above it.
    """

    sub_agent_id: str | None
    parent_sub_agent_id: str | None
    credits_below: int = 0
    depth: int = 0


@dataclass(frozen=True)
class Spending:
    """The cost of each run, and of each sub-agent as a tree."""

    runs: tuple[Run, ...] = ()
    sub_agents: tuple[SubAgent, ...] = ()


def spending(database_url: str, since: datetime, accounts: Iterable[str]) -> Spending:
    """Return what calls of these accounts have cost that began from `since` on.

    Raises `StackError` where the command fails.
    """
    runs = _rows(database_url, since, accounts, "run")
    agents = _rows(database_url, since, accounts, "run,agent")
    return Spending(
        tuple(Run(run_id=row["run"], **_sums(row)) for row in runs), tuple(_tree(agents))
    )


def _rows(database_url: str, since: datetime, accounts: Iterable[str], by: str) -> Any:  # noqa: ANN401 - JSON
    chosen = [f"--account={account}" for account in sorted(accounts)]
    command = ("spend", "--from", since.isoformat(), *chosen, "--by", by, "--json")
    told = commands.run("operator_cli", *command, environment={"DATABASE_URL": database_url})
    return json.loads(told)["rows"]


def _sums(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "calls": row["calls"],
        "response_cost_usd": Decimal(row["cost USD"]),
        "charged_usd": Decimal(row["charged USD"]),
        "charged_credits": int(row["credits"]),
    }


def _tree(rows: Iterable[dict[str, Any]]) -> Iterable[SubAgent]:
    depths: dict[tuple[str | None, str | None], int] = {}
    for row in rows:
        run, agent, under = row["run"], row["agent"], row["under"]
        # Each stands behind the one that called it.
        depth = depths.get((run, under), -1) + 1 if under is not None else 0
        depths.setdefault((run, agent), depth)
        yield SubAgent(
            run_id=run,
            sub_agent_id=agent,
            parent_sub_agent_id=under,
            credits_below=int(row["credits with sub-agents"]),
            depth=depth,
            **_sums(row),
        )
