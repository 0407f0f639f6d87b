"""The arithmetic of the bench: what is compared with what, and when a target is missed."""

import json
from pathlib import Path
from typing import Final

import pytest

from producer_gateway.splitter import split
from schemas.reader import identify
from tests.bench import pages, plot, report
from tests.bench.figures import (
    Comparison,
    Figures,
    Target,
    Verdict,
    percentile,
    quarter_peaks,
)
from tests.bench.others import PLAIN
from tests.bench.payloads import (
    DEFERRED_EVERY,
    FAT,
    MEDIAN,
    REDACTED,
    Payloads,
    is_deferred,
    receipts_among,
)
from tests.bench.profiling import collapsed
from tests.bench.report import Run

ROOT: Final = Path(__file__).parents[2]


def compared(ours: tuple[float, ...], limit: tuple[float, ...], target: Target) -> Comparison:
    return Comparison("it", "rows/s", Figures("ours", ours), Figures("limit", limit), target)


def test_ratios_are_taken_round_by_round() -> None:
    # The second round was twice as slow for both: the ratio must not see it.
    row = compared((50.0, 25.0, 60.0), (100.0, 50.0, 100.0), Target(0.5))
    assert row.ratio is not None
    assert row.ratio.values == (0.5, 0.5, 0.6)
    assert row.ratio.median == 0.5
    assert (row.ratio.least, row.ratio.most) == (0.5, 0.6)
    assert row.verdict is Verdict.MET


@pytest.mark.parametrize(
    ("target", "ours", "verdict"),
    [
        (Target(0.5), 49.0, Verdict.MISSED),
        (Target(0.5), 50.0, Verdict.MET),
        (Target(1.1, at_least=False), 110.0, Verdict.MET),
        (Target(1.1, at_least=False), 111.0, Verdict.MISSED),
        (Target(50, at_least=False, of_ratio=False), 51.0, Verdict.MISSED),
        (Target(50, at_least=False, of_ratio=False), 49.0, Verdict.MET),
    ],
)
def test_a_target_is_a_bound_on_the_ratio_or_on_our_own_figure(
    target: Target, ours: float, verdict: Verdict
) -> None:
    assert compared((ours,), (100.0,), target).verdict is verdict


def test_what_has_no_target_has_no_verdict() -> None:
    assert Comparison("it", "MiB", Figures("ours", (1.0,))).verdict is Verdict.NONE


def test_a_ratio_without_a_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a limit"):
        Comparison("it", "rows/s", Figures("ours", (1.0,)), target=Target(0.5))


def test_a_round_that_one_side_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="as many rounds"):
        compared((1.0, 2.0), (1.0,), Target(0.5))


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)]
)
def test_percentiles_are_values_that_were_measured(share: float, expected: float) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], share) == expected


def test_the_percentile_of_one_value_is_that_value() -> None:
    assert percentile([7.0], 0.99) == 7.0


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_each_quarter_has_its_own_peak() -> None:
    assert quarter_peaks([1, 9, 2, 3, 5, 4, 8, 7]) == (9, 3, 5, 8)
    with pytest.raises(ValueError, match="four samples"):
        quarter_peaks([1, 2, 3])


@pytest.mark.parametrize("size", [REDACTED, MEDIAN, FAT])
def test_payloads_have_their_size_and_ids_of_their_own(size: int) -> None:
    payloads = Payloads("seed", size)
    body = payloads.body(40, 11)
    found, nulls = split(body)
    assert (len(found), nulls) == (11, 0)
    assert all(abs(len(one.value) - size) <= 8 for one in found)
    identities = [identify(one.value) for one in found]
    assert len({who.call_key for who in identities}) == 11
    for number, who in enumerate(identities, start=40):
        response, call, run = payloads.names(number)
        assert who.call_key == f"{call}|{response}"
        assert (who.run_id, who.attributed) == (run, True)


def test_payloads_are_the_same_by_seed_and_number() -> None:
    assert Payloads("a").element(3) == Payloads("a").element(3)
    assert Payloads("a").names(3) != Payloads("b").names(3)
    assert Payloads("a", runs=1).names(3)[2] == Payloads("a", runs=1).names(4)[2]


def test_one_call_in_some_is_deferred() -> None:
    costs = [json.loads(Payloads("a").element(number))["response_cost"] for number in range(100)]
    assert [number for number, cost in enumerate(costs) if not cost] == [
        number for number in range(100) if is_deferred(number)
    ]
    assert receipts_among(100) == sum(map(bool, costs)) == 100 - 100 // DEFERRED_EVERY


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.3529, "0.353"), (1.71, "1.71"), (47.06, "47.1"), (8_123.4, "8,123"), (0.0, "0.000")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert report.number(value) == text


def test_the_page_gets_the_table_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    row = compared((50.0, 60.0), (100.0, 100.0), Target(0.5))
    report.write_page(page, report.markdown([row], {"cores": "2"}, "Size full"))
    lines = page.read_text().splitlines()
    assert lines[0] == "before"
    assert lines[-1] == "after"
    assert "old" not in lines
    assert (
        "| it | rows/s | 55.0 (50.0 to 60.0) | 100 (100 to 100) | limit "
        "| 0.550 (0.500 to 0.600) | ≥ 0.5 | met |"
    ) in lines
    assert "cores 2." in lines


def test_a_page_without_markers_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    with pytest.raises(ValueError, match="markers"):
        report.write_page(page, "text")


def test_the_json_holds_every_round(tmp_path: Path) -> None:
    file = tmp_path / "raw" / "figures.json"
    row = compared((50.0, 60.0), (100.0, 100.0), Target(0.5))
    run = Run("small", "Size small", {"cores": "2"}, {"it": [row]}, {"growth": "broke off"})
    report.write_json(file, run)
    document = json.loads(file.read_text())
    assert document["failures"] == {"growth": "broke off"}
    (written,) = document["measured"]["it"]
    assert written["ours"] == {"name": "ours", "values": [50.0, 60.0]}
    assert (written["ratio"], written["verdict"]) == ([0.5, 0.6], "met")
    assert report.read_json(file) == run


def test_the_pages_are_those_of_the_last_full_run() -> None:
    run = report.read_json(ROOT / pages.RAW)
    for page, text in pages.texts(run).items():
        assert f"{report.BEGIN}\n{text}\n{report.END}" in (ROOT / page).read_text()


@pytest.mark.parametrize("size", ["4 kB", "14 kB"])
def test_the_picture_shows_the_figures_of_the_last_full_run(size: str) -> None:
    rows = {row.what: row for row in report.read_json(ROOT / pages.RAW).rows}
    ours, *_, copied = plot.consumers(rows, size)
    (row,) = (
        row
        for row in report.read_json(ROOT / pages.RAW).measured["other_consumers"]
        if row.what == f"Kafka to PostgreSQL, all processes, {size}"
        and row.limit
        and row.limit.name == PLAIN.name
    )
    assert ours.whole == pytest.approx(row.ours.median, rel=0.05)
    both = rows[f"consumer and PostgreSQL, {size}"].limit
    assert both
    assert copied.whole == pytest.approx(both.median)
    gateway, fastapi, bare = plot.gateways(rows, size)
    assert bare.whole < gateway.whole < fastapi.whole


def test_the_picture_is_drawn_of_every_full_run(tmp_path: Path) -> None:
    plot.draw(report.read_json(ROOT / pages.RAW), tmp_path / "cpu.png")
    assert (tmp_path / "cpu.png").read_bytes().startswith(b"\x89PNG")


def test_a_profile_counts_a_recursive_function_once_a_sample() -> None:
    main = "thread (7): MainThread;main (/a/b/run.py:1)"
    walk = f"{main};walk (/a/b/tree.py:9);walk (/a/b/tree.py:9)"
    waits = "thread (8): pool_0;wait (/a/b/pool.py:2) 2\nthread (9): pool_1;wait (/a/b/pool.py:2) 2"
    threads = collapsed(f"{walk} 3\n{main} 1\n{waits}\n")
    assert threads.keys() == {"MainThread", "pool"}
    shares = threads["MainThread"]
    assert shares.samples == 4
    assert shares.total == {"main (b/run.py)": 4, "walk (b/tree.py)": 3}
    assert shares.own == {"walk (b/tree.py)": 3, "main (b/run.py)": 1}
    assert (shares.idle, threads["pool"].idle) == (False, True)
