"""The tree of a run: the run, its agents under those who gave them work, and their calls.

Pure. Every amount is summed exactly, so the run's total is the sum of its calls.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, TypeAlias

from charging.money import summed
from ledger.run_costs import RunCosts
from runtime.rows import Row

AGENT: Final = "agent"
MODEL: Final = "model"
"""A model that stands in for the agent, where a call names none."""
SIGNED: Final = "signed"
_NOTHING: Final = Decimal(0)

_Who: TypeAlias = tuple[str, str | None, str | None]
"""Agent or model, its name, and the agent under which it worked."""


@dataclass(slots=True)
class Figures:
    """What calls have cost; `signed_usd` is what of it was charged under signed names."""

    calls: int = 0
    open: int = 0
    charged_usd: Decimal = _NOTHING
    credits: Decimal = _NOTHING
    signed_usd: Decimal = _NOTHING
    signatures: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Figures") -> None:
        """Add the figures of other calls."""
        self.calls += other.calls
        self.open += other.open
        self.charged_usd = summed((self.charged_usd, other.charged_usd))
        self.credits = summed((self.credits, other.credits))
        self.signed_usd = summed((self.signed_usd, other.signed_usd))
        self.signatures.update(other.signatures)


@dataclass(slots=True)
class Branch:
    """The run itself, an agent, or the model that stands in for one.

    `total` has everything below it, `own` its own calls alone. `calls` are those that are shown.
    """

    kind: str
    name: str | None
    depth: int = 0
    above: int | None = None
    own: Figures = field(default_factory=Figures)
    total: Figures = field(default_factory=Figures)
    calls: list[Row] = field(default_factory=list)


def tree_of(run_id: str, costs: RunCosts) -> Sequence[Branch]:
    """Return the branches, each before those below it; the first one is the run.

    An agent that made no call itself but gave others work has a branch of nothing of its own. Where
    agents name each other, the circle is cut at the first of them.
    """
    found = _branches(costs)
    tree = [Branch("run", run_id)]
    for branch, depth, above in _in_order(found):
        branch.depth, branch.above = depth, above
        tree.append(branch)
    for branch in tree:
        branch.total.add(branch.own)
    for branch in reversed(tree):
        if branch.above is not None:
            tree[branch.above].total.add(branch.total)
    return tree


def _branches(costs: RunCosts) -> Mapping[_Who, Branch]:
    found: dict[_Who, Branch] = {}

    def branch(row: Row) -> Branch:
        kind = MODEL if row["agent"] is None else AGENT
        name = row["model"] if kind == MODEL else row["agent"]
        return found.setdefault((kind, name, row["under"]), Branch(kind, name))

    for row in costs.sums:
        branch(row).own.add(_figures(row))
    for row in costs.open:
        branch(row).own.add(Figures(open=row["open"]))
    for row in costs.calls:
        branch(row).calls.append(row)
    agents = {name for kind, name, _ in found if kind == AGENT}
    for under in [under for _, _, under in found if under is not None]:
        if under not in agents:
            found.setdefault((AGENT, under, None), Branch(AGENT, under))
    return found


def _figures(row: Row) -> Figures:
    signature, charged = row["signature"], row["charged USD"]
    return Figures(
        calls=row["calls"],
        charged_usd=charged,
        credits=row["credits"],
        signed_usd=charged if signature == SIGNED else _NOTHING,
        signatures=Counter({signature: row["calls"]}),
    )


def _in_order(found: Mapping[_Who, Branch]) -> Iterator[tuple[Branch, int, int]]:
    """Yield each branch once, with its depth and the place of the branch above it.

    Without recursion: a client chooses how deep its agents stand.
    """
    below: dict[str | None, list[_Who]] = {}
    for who in sorted(found, key=lambda who: _order(who, found[who])):
        below.setdefault(who[2], []).append(who)
    roots = [*below.get(None, ()), *(who for some in below.values() for who in some)]
    waiting = [(who, 1, 0) for who in reversed(roots)]
    seen = set[_Who]()
    while waiting:
        who, depth, above = waiting.pop()
        if who in seen:
            continue
        seen.add(who)
        yield found[who], depth, above
        kind, name, _ = who
        if kind == AGENT:
            place = len(seen)
            waiting += [(one, depth + 1, place) for one in reversed(below.get(name, ()))]


def _order(who: _Who, branch: Branch) -> tuple[object, ...]:
    kind, name, _ = who
    return (kind != MODEL, -branch.own.charged_usd, name or "")


def worth(signatures: Mapping[str, int]) -> str:
    """Return what signatures are worth in words: `signed 3, forged 1`, or `signed` of all."""
    ordered = sorted(signatures, key=lambda one: (-signatures[one], one))
    if len(ordered) == 1:
        return ordered[0]
    return ", ".join(f"{one} {signatures[one]}" for one in ordered)


def stand_ins(tree: Iterable[Branch]) -> int:
    """Return how many calls name no agent."""
    return sum(one.own.calls + one.own.open for one in tree if one.kind == MODEL)
