"""Waits have deadlines in seconds that the machine had."""

import time
from types import SimpleNamespace

import psutil
import pytest

from tests.services.waiting import Stopwatch, eventually


class Host:
    """A machine of two processors, of which the host takes some seconds away."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        self.taken = [5.0, 7.0]
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.passes)
        monkeypatch.setattr(psutil, "cpu_times", self.times)

    def passes(self, seconds: float, *, taken: tuple[float, float] = (0, 0)) -> None:
        """Let time pass, of which each processor was away for `taken`."""
        self.now += seconds
        self.taken = [then + more for then, more in zip(self.taken, taken, strict=True)]

    def times(self, *, percpu: bool) -> list[SimpleNamespace]:
        """What the kernel says."""
        assert percpu
        return [SimpleNamespace(steal=seconds) for seconds in self.taken]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    """The machine."""
    return Host(monkeypatch)


def test_what_the_host_takes_away_does_not_count(host: Host) -> None:
    watch = Stopwatch()
    host.passes(10)
    assert watch.seconds() == 10
    host.passes(20, taken=(20, 0))
    host.passes(5, taken=(3, 4))
    assert watch.seconds() == 12


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
