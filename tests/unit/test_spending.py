"""Rows of spending: totals that are the sums of what is printed, and sub-agents as a tree."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging.money import summed
from operator_cli.checksum import Checksum
from operator_cli.period import month_of
from operator_cli.spending import SUMS, TREE, listing_of, total_of
from runtime.rows import Row

AMOUNTS = st.decimals(min_value=0, max_value=10**9, places=60) | st.decimals(
    min_value=0, max_value=10, allow_nan=False, places=25
)
NAMES = st.sampled_from([None, "a", "b", "c", "total", ""])


def receipts(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - of every type
    """A row of receipts as the ledger returns it."""
    names = ("account", "team", "key", "model", "provider", "day", "run", "agent", "under")
    return {
        **dict.fromkeys((*names, "team alias", "key alias")),
        "calls": 1,
        "cost USD": Decimal("0.5"),
        "charged USD": Decimal("0.5"),
        "credits": Decimal(5_000_000),
        **fields,
    }


def deferrals(count: int, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - of every type
    """A row of open deferrals as the ledger returns it."""
    row = receipts(**fields)
    for name in ("calls", "cost USD", "charged USD", "credits"):
        del row[name]
    return {**row, "open deferrals": count}


@given(st.lists(AMOUNTS))
def test_MONEY_IS_EXACT_in_every_sum(amounts: Sequence[Decimal]) -> None:
    assert Fraction(summed(amounts)) == sum(map(Fraction, amounts))
    assert str(summed([Decimal("0.4"), Decimal("1.60")])) == "2"


ROWS = st.lists(
    st.builds(
        receipts,
        **{
            "team": NAMES,
            "agent": NAMES,
            "under": NAMES,
            "calls": st.integers(0, 10**9),
            "charged USD": AMOUNTS,
            "cost USD": AMOUNTS,
            "credits": st.integers(0, 10**18).map(Decimal),
        },
    ),
    unique_by=lambda row: (row["team"], row["agent"], row["under"]),
)


@given(ROWS, ROWS)
def test_the_total_is_the_sum_of_what_is_printed_and_of_what_was_found(
    found: list[Row], open_ones: list[Row]
) -> None:
    """Also with agents that call each other in circles, or were called by nobody."""
    waiting = [
        deferrals(each["calls"], team=each["team"], agent=each["agent"], under=each["under"])
        for each in open_ones
    ]
    listing = listing_of(("team", "agent"), found, waiting)
    total = total_of(listing.rows)
    for name in SUMS:
        printed = sum(Fraction(row[name]) for row in listing.rows)
        sources = waiting if name == "open deferrals" else found
        assert Fraction(total[name]) == printed == sum(Fraction(row[name]) for row in sources)
    roots = [row for row in listing.rows if row["depth"] == 0]
    assert sum(Fraction(row[TREE[1]]) for row in roots) == total["credits"]
    for row in listing.rows:
        assert row[TREE[1]] >= row["credits"]


def test_agents_stand_behind_the_one_that_called_them_each_once() -> None:
    found = [
        receipts(agent="child", under="parent"),
        receipts(agent="parent"),
        receipts(agent="grandchild", under="child"),
        receipts(agent="one", under="other"),
        receipts(agent="other", under="one"),
        receipts(agent="self", under="self"),
        receipts(agent="orphan", under="silent"),
    ]
    rows = listing_of(("agent",), found, []).rows
    assert [(row["depth"], row["agent"], int(row[TREE[1]] / 5_000_000)) for row in rows] == [
        (0, "parent", 3),
        (1, "child", 2),
        (2, "grandchild", 1),
        (0, "silent", 1),
        (1, "orphan", 1),
        (0, "one", 2),
        (1, "other", 1),
        (0, "self", 1),
    ]


def test_a_client_may_have_its_agents_call_each_other_as_deep_as_it_likes() -> None:
    deep = 5_000
    found = [receipts(agent=f"{n}", under=f"{n - 1}" if n else None) for n in range(deep)]
    rows = listing_of(("agent",), found, []).rows
    assert rows[0][TREE[1]] == deep * 5_000_000
    assert rows[-1]["depth"] == deep - 1


def test_the_largest_comes_first_and_days_in_their_order() -> None:
    found = [
        receipts(team="small", day="2026-10-02", **{"charged USD": Decimal(1)}),
        receipts(team="large", day="2026-10-03", **{"charged USD": Decimal(2)}),
        receipts(day="2026-10-01", **{"charged USD": Decimal("1.5")}),
    ]
    by_team = listing_of(("team",), found, [deferrals(2, team="waits")]).rows
    assert [row["team"] for row in by_team] == ["large", None, "small", "waits"]
    by_day = listing_of(("day", "team"), found, []).rows
    assert [row["day"] for row in by_day] == ["2026-10-01", "2026-10-02", "2026-10-03"]


def test_receipts_and_deferrals_of_one_name_are_one_row_with_its_alias() -> None:
    found = [receipts(team="t", **{"team alias": "Team"})]
    [row] = listing_of(("team",), found, [deferrals(3, team="t")]).rows
    assert (row["team alias"], row["calls"], row["open deferrals"]) == ("Team", 1, 3)


def test_without_a_name_there_is_one_row() -> None:
    assert len(listing_of((), [receipts()], [deferrals(1)]).rows) == 1
    assert total_of([]) == {**dict.fromkeys(SUMS, 0)}


@pytest.mark.parametrize(
    ("month", "ends"),
    [("2026-02", "2026-03-01"), ("2026-12", "2027-01-01"), ("2028-02", "2028-03-01")],
)
def test_a_month_ends_where_the_next_begins(month: str, ends: str) -> None:
    since, until = month_of(month)
    assert since.isoformat() == f"{month}-01T00:00:00+00:00"
    assert until.isoformat() == f"{ends}T00:00:00+00:00"


def test_a_checksum_is_of_account_month_and_every_receipt() -> None:
    def of(account: str, month: str, *credits_: int) -> str:
        checksum = Checksum(account, month)
        for each in credits_:
            row = {"receipt": "id", "started": None, "cost USD": Decimal("1E-7")}
            checksum.add({**row, "charged USD": Decimal("1E-7"), "credits": Decimal(each)})
        return str(checksum)

    different = {
        of("acme", "2026-10"), of("acme", "2026-11"), of("acme\n", "2026-10"),
        of("acme", "2026-10", 1), of("acme", "2026-10", 1, 1), of("acme", "2026-10", 2),
    }  # fmt: skip
    assert len(different) == 6
    # printf '["billing statement v1","acme","2026-10"]\n' | sha256sum
    assert of("acme", "2026-10") == (
        "sha256:10f78d2524caf08b6a2d6ed79166b339df1031d79a52014b464cb0bc033227e8"
    )
