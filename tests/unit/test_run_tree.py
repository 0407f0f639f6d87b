"""The tree of a run: every call has one place in it, and the total is the sum of the calls."""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ledger.run_costs import RunCosts
from operator_cli.run_tree import Branch, stand_ins, tree_of, worth

NAMES = st.sampled_from([None, "a", "b", "c", "gpt", ""])
MODELS = st.sampled_from([None, "gpt", "a"])
AMOUNTS = st.decimals(min_value=0, max_value=10**9, places=40)
SIGNATURES = st.sampled_from(["signed", "unsigned", "forged", "unknown key"])


def row(agent: str | None, under: str | None, model: str | None, **more: object) -> dict[str, Any]:
    """A row as the ledger returns it: a model only where there is no agent."""
    return {"agent": agent, "under": under, "model": None if agent else model, **more}


SUMS = st.lists(
    st.builds(
        row,
        NAMES,
        NAMES,
        MODELS,
        signature=SIGNATURES,
        calls=st.integers(1, 9),
        credits=st.integers(0, 10**12).map(Decimal),
        **{"charged USD": AMOUNTS},
    ),
    max_size=12,
)
OPEN = st.lists(st.builds(row, NAMES, NAMES, MODELS, open=st.integers(1, 9)), max_size=4)


def names(tree: Sequence[Branch]) -> list[tuple[int, str, str | None]]:
    """What stands where."""
    return [(one.depth, one.kind, one.name) for one in tree]


@given(SUMS, OPEN)
def test_MONEY_IS_EXACT_in_the_tree_of_a_run_whoever_names_whom(
    sums: list[dict[str, Any]], waiting: list[dict[str, Any]]
) -> None:
    tree = tree_of("run-1", RunCosts(sums, waiting, []))
    whole = tree[0].total
    assert Fraction(whole.charged_usd) == sum(Fraction(one["charged USD"]) for one in sums)
    assert Fraction(whole.signed_usd) == sum(
        Fraction(one["charged USD"]) for one in sums if one["signature"] == "signed"
    )
    assert int(whole.credits) == sum(int(one["credits"]) for one in sums)
    assert whole.calls == sum(one["calls"] for one in sums)
    assert whole.open == sum(one["open"] for one in waiting)
    # Also of each branch: its own calls, and what stands below it.
    for place, branch in enumerate(tree):
        below = [one.total.charged_usd for one in tree if one.above == place]
        parts = sum(map(Fraction, below), Fraction(branch.own.charged_usd))
        assert Fraction(branch.total.charged_usd) == parts
        assert branch.above is None or tree[branch.above].depth == branch.depth - 1


def test_an_agent_under_another_stands_below_it_however_deep() -> None:
    def call(agent: str | None, under: str | None, usd: str) -> dict[str, Any]:
        figures = {"signature": "unsigned", "calls": 1, "credits": Decimal(usd) * 10**7}
        return row(agent, under, "gpt", **figures, **{"charged USD": Decimal(usd)})

    sums = [
        call("writer", "editor", "1"),
        call("editor", "chief", "2"),
        call(None, None, "4"),
        call(None, "editor", "8"),
        call("gpt", None, "16"),
    ]
    tree = tree_of("run-1", RunCosts(sums, [row("writer", "editor", None, open=3)], []))
    assert names(tree) == [
        (0, "run", "run-1"),
        (1, "model", "gpt"),
        (1, "agent", "gpt"),
        (1, "agent", "chief"),
        (2, "agent", "editor"),
        (3, "model", "gpt"),
        (3, "agent", "writer"),
    ]
    assert [one.total.charged_usd for one in tree] == [31, 4, 16, 11, 11, 8, 1]
    assert [one.total.open for one in tree] == [3, 0, 0, 3, 3, 0, 3]
    assert stand_ins(tree) == 2


def test_a_chain_of_ten_thousand_agents_is_a_tree_as_well() -> None:
    figures = {"signature": "signed", "calls": 1, "credits": Decimal(1)}
    sums = [
        row(f"a{at}", f"a{at - 1}" if at else None, None, **figures, **{"charged USD": Decimal(1)})
        for at in range(10_000)
    ]
    tree = tree_of("run-1", RunCosts(sums, [], []))
    assert tree[-1].depth == 10_000
    assert tree[0].total.signed_usd == tree[1].total.charged_usd == 10_000


def test_agents_that_name_each_other_are_told_once() -> None:
    figures = {"signature": "forged", "calls": 1, "credits": Decimal(1), "charged USD": Decimal(1)}
    sums = [row("a", "b", None, **figures), row("b", "a", None, **figures)]
    tree = tree_of("run-1", RunCosts(sums, [], []))
    assert names(tree) == [(0, "run", "run-1"), (1, "agent", "a"), (2, "agent", "b")]


def test_what_signatures_are_worth_is_said_in_words() -> None:
    assert worth(Counter(signed=3)) == "signed"
    assert worth(Counter(forged=1, signed=3)) == "signed 3, forged 1"
    assert worth(Counter()) == ""
