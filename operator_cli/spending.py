"""Rows of spending: receipts and open deferrals put together, in order, with sub-agents as a tree.

Pure. Every amount is summed exactly, so a total is the sum of what is printed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from charging.money import summed
from runtime.rows import Listing, Row

SUMS: Final = ("calls", "cost USD", "charged USD", "credits", "open deferrals")
TREE: Final = ("charged USD with sub-agents", "credits with sub-agents")
_ALSO: Final[Mapping[str, str]] = {"team": "team alias", "key": "key alias", "agent": "under"}
"""What is shown beside a name."""
_MAXIMUM: Final = ("team alias", "key alias")
_NOTHING: Final[Row] = {
    "calls": 0, "cost USD": Decimal(0), "charged USD": Decimal(0), "credits": Decimal(0),
    "open deferrals": 0,
}  # fmt: skip


def listing_of(by: Sequence[str], receipts: Sequence[Row], deferrals: Sequence[Row]) -> Listing:
    """Return a row for each combination of the names `by`.

    The largest charge comes first; where `by` has days, they are in the order of the names. With
    `agent`, sub-agents stand behind the one that called them.
    """
    shown = [one for name in by for one in (name, _ALSO.get(name)) if one]
    keys = [name for name in shown if name not in _MAXIMUM]
    rows = [
        {name: row[name] for name in (*shown, *SUMS)} for row in _joined(keys, receipts, deferrals)
    ]
    rows.sort(key=lambda row: _order(row, by))
    if "agent" not in by:
        return Listing((*shown, *SUMS), rows)
    others = [name for name in keys if name not in ("agent", "under")]
    return Listing((*shown, *SUMS, *TREE), _trees(rows, others))


def total_of(rows: Iterable[Row]) -> Row:
    """Return the sums of rows."""
    listed = list(rows)
    return {
        name: sum(row[name] for row in listed)
        if isinstance(_NOTHING[name], int)
        else summed(row[name] for row in listed)
        for name in SUMS
    }


def _joined(
    keys: Sequence[str], receipts: Sequence[Row], deferrals: Sequence[Row]
) -> Iterable[dict[str, Any]]:
    found: dict[tuple[object, ...], dict[str, Any]] = {}
    for row in (*receipts, *deferrals):
        one = found.setdefault(tuple(row[key] for key in keys), {**_NOTHING})
        aliases = {
            name: max(filter(None, (one.get(name), row[name])), default=None) for name in _MAXIMUM
        }
        one.update({**row, **aliases})
    return found.values()


def _order(row: Row, by: Sequence[str]) -> tuple[object, ...]:
    # What has no name stands before what has one.
    names = tuple((row[name] is not None, row[name] or "") for name in by)
    return names if "day" in by else (-row["charged USD"], -row["open deferrals"], *names)


def _trees(rows: Sequence[dict[str, Any]], others: Sequence[str]) -> list[Row]:
    """Return the rows of each tree together: one for each combination of the `others`."""
    trees: dict[tuple[object, ...], list[dict[str, Any]]] = {}
    for row in rows:
        trees.setdefault(tuple(row[name] for name in others), []).append(row)
    return [row for some in trees.values() for row in _tree(some)]


def _tree(rows: Sequence[dict[str, Any]]) -> list[Row]:
    """Return the rows of one tree, each agent before those that it called, with its depth.

    An agent that made no call itself but called others has a row of nothing. Where agents name
    each other as callers, the circle is cut at the first of them.
    """
    below: dict[str | None, list[dict[str, Any]]] = {}
    for row in (*rows, *_silent(rows)):
        below.setdefault(row["under"], []).append(row)
    done: list[Row] = []
    seen = set[int]()
    for root in (*below.get(None, ()), *rows):
        done += _branch(root, below, seen)
    return done


def _silent(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield rows of nothing for agents that only called others."""
    agents = {row["agent"] for row in rows}
    for name in dict.fromkeys(row["under"] for row in rows):
        if name not in agents | {None}:
            yield {**rows[0], **_NOTHING, "agent": name, "under": None}


def _branch(
    root: dict[str, Any], below: Mapping[str | None, Sequence[dict[str, Any]]], seen: set[int]
) -> list[Row]:
    """Return a row and those below it, with their sums; `seen` are rows that have their place.

    Without recursion: a client chooses how deep its agents call each other.
    """
    done: list[Row] = []
    above: list[dict[str, Any]] = []
    waiting = [iter([root])]
    while waiting:
        row = next(waiting[-1], None)
        if row is None:
            waiting.pop()
            if len(above) > 1:
                for name in TREE:
                    above[-2][name] = summed((above[-2][name], above[-1][name]))
            del above[-1:]
        elif id(row) not in seen:
            seen.add(id(row))
            sums = dict(zip(TREE, (row["charged USD"], row["credits"]), strict=True))
            shown = {**row, **sums, "depth": len(above)}
            done.append(shown)
            above.append(shown)
            called = below.get(row["agent"], ()) if row["agent"] is not None else ()
            waiting.append(iter(called))
    return done
