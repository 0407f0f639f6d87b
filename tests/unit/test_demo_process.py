"""A supervised process: how it ends, and that it ends."""

import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest

from demo import loopback
from demo.loopback import Ports, address
from demo.process import Child, Service, StackError, inherited
from tests.waiting import eventually

STUBBORN = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('deaf', flush=True)\n"
    "time.sleep(600)"
)


def service(code: str, stop_seconds: float = 10) -> Service:
    return Service(
        name="test",
        command=(sys.executable, "-c", code),
        environment=os.environ,
        directory=Path.cwd(),
        stop_seconds=stop_seconds,
    )


def test_output_goes_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = Child(service("import sys; print('out'); print('err', file=sys.stderr)"), log)
    assert eventually(lambda: child.exit_code() is not None, "the end")
    assert sorted(log.read_text().split()) == ["err", "out"]


def test_it_stops_on_its_signal(tmp_path: Path) -> None:
    child = Child(service("import time; time.sleep(600)"), tmp_path / "log")
    assert child.stop()
    assert child.exit_code() == -signal.SIGTERM


def test_one_that_ignores_its_signal_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = Child(service(STUBBORN, stop_seconds=0.2), log)
    eventually(lambda: "deaf" in log.read_text(), "the signal to be ignored")
    assert not child.stop()
    assert child.exit_code() == -signal.SIGKILL


def test_stopping_one_that_has_ended_is_nothing(tmp_path: Path) -> None:
    child = Child(service("raise SystemExit(3)"), tmp_path / "log")
    eventually(lambda: child.exit_code() is not None, "the end")
    assert child.stop()
    assert child.exit_code() == 3


def test_ports_are_never_given_twice() -> None:
    ports = Ports()
    taken = [ports.take() for _ in range(50)]
    assert len(set(taken)) == 50
    assert ports.take(8080) == 8080


def test_two_stacks_that_begin_at_once_have_no_port_in_common(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(loopback, "_PORTS", range(20_000, 20_100))
    stacks = [Ports() for _ in range(4)]
    taken = [stack.take() for stack in stacks for _ in range(20)]
    assert len(set(taken)) == 80
    del stacks
    assert Ports().take() in range(20_000, 20_100)


def test_a_directory_that_takes_no_lock_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / f"billing-stream-ports-{os.getuid()}").write_text("a file")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(StackError, match="no lock for a port"):
        Ports().take()


def test_a_server_on_every_address_is_reached_on_loopback() -> None:
    assert address("0.0.0.0", 80) == "127.0.0.1:80"  # noqa: S104 - the case itself
    assert address("10.0.0.1", 80) == "10.0.0.1:80"


def test_bytecode_goes_aside_where_it_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    aside = inherited()
    assert "PYTHONDONTWRITEBYTECODE" not in aside
    assert ".cache" in Path(aside["PYTHONPYCACHEPREFIX"]).parts
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE")
    assert "PYTHONPYCACHEPREFIX" not in inherited()
