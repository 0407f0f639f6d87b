"""The sizing of docs/scaling.md follows from measured costs, and from nothing typed by hand."""

import os
import socket
import sys
from dataclasses import fields, replace

import psutil
import pytest

from tests.bench import scale_page
from tests.bench.figures import Comparison, Figures
from tests.bench.scale_wire import Wire, wire
from tests.bench.sizing import (
    BROKER,
    CONSUMER,
    COSTS,
    GATEWAY,
    PARTITION,
    PLAN,
    RATES,
    SERVER,
    Costs,
    Plan,
    costs_of,
    flows,
    installed,
    layout,
    limits,
)

COST = Costs(
    gateway=100,
    consumer=200,
    broker=50,
    database=80,
    posted=14.5,
    produced=1.5,
    fetched=1.6,
    published=0.3,
    written=1,
    callbacks=1.5,
    events=0.2,
    tables=1.2,
    wal=2,
    content=2,
)
CHOSEN = Plan(callbacks_days=14, events_days=90, least_partitions=12)
ROWS = [
    Comparison(
        said.title,
        said.unit,
        Figures("14 kB", (getattr(COST, name), getattr(COST, name) * 3, 0.0)),
        Figures("4 kB", (getattr(COST, name) / 2,) * 3),
    )
    for name, said in COSTS.items()
]


def bears(part: str, name: str, costs: Costs = COST, plan: Plan = CHOSEN) -> float:
    (found,) = [each for each in limits(costs, plan) if (each.part, each.name) == (part, name)]
    return found.calls


def test_every_symbol_has_a_meaning_and_no_two_have_the_same_name() -> None:
    assert [each.name for each in fields(Costs)] == list(COSTS)
    assert [each.name for each in fields(Plan)] == list(PLAN)
    symbols = [said.symbol for said in (*COSTS.values(), *PLAN.values())]
    assert len(set(symbols)) == len(symbols)


def test_one_core_bears_what_its_cost_leaves_at_half_of_its_time() -> None:
    assert bears(GATEWAY, "one core") == pytest.approx(5_000)
    assert bears(CONSUMER, "one core") == pytest.approx(2_500)
    # 4 of 8 cores, and each call is worked on by three brokers: 150 microseconds.
    assert bears(BROKER, "CPU") == pytest.approx(4 / 150e-6)
    assert bears(SERVER, "CPU") == pytest.approx(100_000)


def test_disks_hold_what_comes_until_it_may_go() -> None:
    # (1.5 + 2) kB for 14 days and 0.2 kB for 90, three times; 11.2 TB of 16 may be used.
    kept = 3 * (14 * 3.5 + 90 * 0.2)
    assert flows(COST, CHOSEN).kept == pytest.approx(kept)
    assert bears(BROKER, "disk") == pytest.approx(11.2e12 / (86_400 * kept * 1e3))
    assert bears(SERVER, "disk") == pytest.approx(11.2e12 / (86_400 * 45 * 1.2e3))
    longer = replace(CHOSEN, callbacks_days=28)
    assert bears(BROKER, "disk", plan=longer) < bears(BROKER, "disk")


def test_each_copy_is_sent_once_and_received_once() -> None:
    alone, copied = (flows(COST, replace(CHOSEN, copies=copies)) for copies in (1, 3))
    assert alone.incoming == pytest.approx(1.5 + 2 + 0.3)
    assert alone.outgoing == pytest.approx(1.6 + 2 + 0.2)
    assert copied.incoming - alone.incoming == pytest.approx(2 * 3.7)
    assert copied.outgoing - alone.outgoing == pytest.approx(2 * 3.7)


@pytest.mark.parametrize("rate", RATES)
def test_a_layout_bears_its_rate_and_not_with_one_part_less(rate: int) -> None:
    among = limits(COST, CHOSEN)
    sized, least = layout(rate, among, CHOSEN), installed(CHOSEN)
    assert sized.borne(among)[0][1] >= rate
    for part, count in sized.counts.items():
        borne = min(limit.calls for limit in among if limit.part == part) * (count - 1)
        assert borne < rate or count == least.counts[part] or part == PARTITION
    partitions = sized.counts[PARTITION]
    assert partitions % 12 == 0
    assert partitions >= 2 * sized.counts[CONSUMER]


def test_what_breaks_first_comes_first() -> None:
    among = limits(COST, CHOSEN)
    (limit, calls), *others = installed(CHOSEN).borne(among)
    assert (limit.part, limit.name) == (BROKER, "disk")
    assert calls == pytest.approx(3 * bears(BROKER, "disk"))
    assert all(calls <= more for _, more in others)


def test_costs_are_the_medians_of_what_was_measured() -> None:
    full, small = costs_of(ROWS)
    assert full == COST
    assert small.gateway == COST.gateway / 2
    with pytest.raises(KeyError, match="t: disk"):
        costs_of([row for row in ROWS if not row.what.startswith("t:")])


def test_retention_and_partitions_are_those_that_are_declared() -> None:
    assert Plan.of_topics() == CHOSEN


def test_the_page_has_every_cost_every_choice_and_a_sizing_for_each_size() -> None:
    scaled = Comparison("2 consumers", "callbacks/s", Figures("2", (3.0,)), Figures("1", (2.0,)))
    text = scale_page.markdown([scaled], ROWS, {"cores": "2"}, "Size full")
    lines = text.splitlines()
    assert all(any(f"| {each.title} |" in line for line in lines) for each in COSTS.values())
    assert all(any(f"| {each.title} |" in line for line in lines) for each in PLAN.values())
    assert "| 2 consumers | callbacks/s | 3.00 | 2.00 | 1 | 1.50 |  |  |" in lines
    assert "| gateway | one core | `u / g` | 5,000 | 10,000 |" in lines
    full, small = (line for line in lines if line.startswith("| gateways |"))
    assert full == "| gateways | N / one, at least 2 | 2 | 2 | 20 | 200 |"
    assert small == "| gateways | N / one, at least 2 | 2 | 2 | 10 | 100 |"
    (breaks, _) = (line for line in lines if line.startswith("| breaks first when calls grow |"))
    assert breaks.split(" | ")[2] == (
        "broker: disk (1,935/s); PostgreSQL server: disk (2,401/s); consumer: one core (5,000/s)"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux is asked")
def test_the_kernel_counts_the_bytes_of_a_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            with accepted:
                client.sendall(b"x" * 10_000)
                accepted.sendall(b"y" * 300)
                assert len(accepted.recv(10_000, socket.MSG_WAITALL)) == 10_000
                assert len(client.recv(300, socket.MSG_WAITALL)) == 300
                # The kernel counts the byte that a connection's first packet takes as well.
                assert wire(psutil.Process(os.getpid()), port) == Wire(10_001, 300)
