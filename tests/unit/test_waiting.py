"""Waits have deadlines in seconds that the machine had."""

import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from tests import waiting
from tests.waiting import Stopwatch, eventually


class Host:
    """A machine of two processors: the host takes seconds away, other processes want theirs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pressure: Path) -> None:
        self.now = 1_000.0
        self.taken = [5.0, 7.0]
        self._pressure = pressure
        self.presses("cpu", 3.0)
        self.presses("io", 1.0)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.passes)
        monkeypatch.setattr(psutil, "cpu_times", self.times)
        monkeypatch.setattr(waiting, "PRESSURE", pressure)

    def passes(self, seconds: float, *, taken: tuple[float, float] = (0, 0)) -> None:
        """Let time pass, of which each processor was away for `taken`."""
        self.now += seconds
        self.taken = [then + more for then, more in zip(self.taken, taken, strict=True)]

    def presses(self, kind: str, total: float) -> None:
        """What the kernel says of how long processes had to wait, in seconds since it started."""
        text = "{} avg10=1.00 avg60=1.00 avg300=1.00 total={}\n"
        lines = text.format("some", round(total * 1e6)) + text.format("full", 77)
        (self._pressure / kind).write_text(lines)

    def times(self, *, percpu: bool) -> list[SimpleNamespace]:
        """What the kernel says of the processors."""
        assert percpu
        return [SimpleNamespace(steal=seconds) for seconds in self.taken]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    """The machine."""
    return Host(monkeypatch, tmp_path)


def test_what_the_host_takes_away_does_not_count(host: Host) -> None:
    watch = Stopwatch()
    host.passes(10)
    assert watch.seconds() == 10
    host.passes(20, taken=(20, 0))
    host.passes(5, taken=(3, 4))
    assert watch.seconds() == 12


def test_a_second_in_which_somebody_had_to_wait_counts_an_eighth(host: Host) -> None:
    watch = Stopwatch()
    host.passes(20)
    host.presses("cpu", 3 + 8)
    assert watch.seconds() == 12 + 1
    host.passes(20)
    host.presses("io", 1 + 8)
    assert watch.seconds() == 24 + 2


def test_it_never_runs_slower_than_an_eighth(host: Host) -> None:
    watch = Stopwatch()
    host.passes(20, taken=(4, 0))
    host.presses("cpu", 3 + 20)
    host.presses("io", 1 + 20)
    assert watch.seconds() == 2


def test_where_the_kernel_says_nothing_every_second_counts(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PRESSURE", Path("/nowhere"))
    watch = Stopwatch()
    host.passes(20)
    assert watch.seconds() == 20


def test_a_wait_is_given_up_after_its_deadline_and_not_for_a_pause_of_the_machine(
    host: Host,
) -> None:
    began, pauses = host.now, [(300.0, 300.0)]

    def never() -> bool:
        while pauses:
            host.passes(300, taken=pauses.pop())
        return False

    with pytest.raises(TimeoutError, match="gave up waiting for nothing after 30 s"):
        eventually(never, "nothing", 30)
    assert host.now - began == pytest.approx(330, abs=1)
