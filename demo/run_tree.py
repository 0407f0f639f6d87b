"""The tree of the demo's run, as `billing run` tells it."""

import json
from dataclasses import dataclass
from decimal import Decimal

from demo import commands


@dataclass(frozen=True, kw_only=True)
class Row:
    """The run, an agent, a model that stands in for one, or a call; money in USD."""

    depth: int
    kind: str
    name: str
    calls: int
    charged_usd: Decimal
    signature: str


def tree(database_url: str, run_id: str) -> tuple[Row, ...]:
    """Return the rows, each before those below it. Raises `StackError` where the command fails."""
    told = commands.run(
        "operator_cli", "run", run_id, "--json", environment={"DATABASE_URL": database_url}
    )
    return tuple(
        Row(
            depth=row["depth"],
            kind=row["kind"],
            name=row["name"],
            calls=row["calls"],
            charged_usd=Decimal(row["charged USD"] or 0),
            signature=row["signature"],
        )
        for row in json.loads(told)["rows"]
    )
