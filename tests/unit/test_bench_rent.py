"""What a month costs to run follows from measured costs and from prices, and the page has it."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench import pages, rent, report
from tests.bench.rent import HOURS, Least, Prices, month
from tests.bench.report import Run
from tests.bench.sizing import Plan, costs_of
from tests.unit.test_bench_sizing import CHOSEN, COST, ROWS

ROOT = Path(__file__).parents[2]
FREE = Least(gateways=0, consumers=0, brokers=0, databases=0, disk=0)
PRICES = Prices(core=1, disk=10, traffic=100)


def test_without_calls_there_is_what_stands() -> None:
    none = month(1e-9, COST, CHOSEN, PRICES)
    assert none.cores == 0.5 + 0.5 + 3 + 2
    assert none.disks_usd == pytest.approx((3 + 2) * 20 * 10)
    assert none.usd == pytest.approx(none.cores * HOURS + none.disks_usd)


def test_what_calls_need_grows_with_them_and_is_paid_by_its_price() -> None:
    one, ten = (month(millions, COST, CHOSEN, PRICES, FREE) for millions in (1, 10))
    assert ten.usd == pytest.approx(10 * one.usd)
    # 100 CPU seconds for a million calls of a month, four times as many at once, half busy.
    assert one.gateways == pytest.approx(100 / (HOURS * 3_600) * 4 / 0.5)
    assert one.consumers == pytest.approx(2 * one.gateways)
    assert one.database_disk == pytest.approx(2 * 1.2 * 12 / 0.7)
    # Brokers: each copy of callbacks for 14 days and of receipts for 90.
    assert one.broker_disk == pytest.approx(3 * (14 * (1.5 + 2) + 90 * 0.2) / (HOURS / 24) / 0.7)
    assert one.usd == pytest.approx(one.machines_usd + one.disks_usd + one.traffic_usd)
    assert one.traffic_usd == pytest.approx(one.traffic * 100)


def test_fewer_copies_need_less() -> None:
    alone = replace(CHOSEN, copies=1)
    assert month(1, COST, alone, PRICES, FREE).usd < month(1, COST, CHOSEN, PRICES, FREE).usd


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    run = Run("tiny", "Size tiny", {}, {"scale_cost": ROWS}, {})
    report.write_json(tmp_path / "rows.json", run)
    assert report.read_json(tmp_path / "rows.json").rows == ROWS


def test_the_page_has_what_follows_from_the_last_full_run() -> None:
    costs, _ = costs_of(report.read_json(ROOT / pages.RAW).rows)
    made = [month(one, costs, Plan.of_topics(), Prices()) for one in rent.MONTHS]
    page = (ROOT / pages.COSTS_PAGE).read_text()
    assert f"{rent.BEGIN}\n{rent.table(made)}\n{rent.END}" in page
