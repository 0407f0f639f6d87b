"""A watchman: asks the probes of every process, and the project's alerts, while a fault holds."""

import re
import threading
import time
from pathlib import Path
from typing import Final, Self

import httpx

from tests.chaos.fleet import Fleet
from tests.chaos.process import Process
from tests.processes.prometheus import Prometheus
from tests.waiting import NET_SECONDS, eventually

EVERY_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 2.0
LOOK_BACK_SECONDS: Final = 3
JOBS: Final = {
    "gateway": "billing-gateway",
    "consumer": "billing-consumer",
    "spend_guard": "billing-spend-guard",
}


def in_seconds(rules: str) -> str:
    """The rules with seconds in place of minutes, so that a fault of seconds is told of.

    Windows and waits, and the five minutes after which a record or a spool is late.
    """
    return re.sub(r"> 300\b", "> 5", re.sub(r"\b(\d+)m\b", r"\1s", rules))


class Asker:
    """Asks one process after the other answers or is late. No answer is no finding."""

    def __init__(self, process: Process) -> None:
        self.room = process.room
        self.failing: set[str] = set()
        self.missing: set[str] = set()
        self._url = f"http://127.0.0.1:{process.metrics_port}"
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"asks {process.name}")

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def _run(self) -> None:
        with httpx.Client(trust_env=False, timeout=PATIENCE_SECONDS, base_url=self._url) as client:
            while not self._end.wait(EVERY_SECONDS):
                # The sets stay: with `|=` an answer would bring back what was forgotten meanwhile.
                self.failing.update(self._asked(client, "/livez"))
                self.missing.update(self._asked(client, "/readyz"))

    @staticmethod
    def _asked(client: httpx.Client, path: str) -> set[str]:
        try:
            answer = client.get(path)
            missing: dict[str, str] = answer.json().get("missing", {})
        except (httpx.TransportError, ValueError):
            return set()  # dead, frozen or just ending
        return set(missing) if answer.status_code >= httpx.codes.BAD_REQUEST else set()

    def stop(self) -> None:
        """Ask no more."""
        self._end.set()
        self._thread.join(NET_SECONDS)


class Watchman:
    """Watches over a fleet from `begin` to `end`, over and over.

    Args:
        fleet: that serves.
        directory: an empty one.

    Raises:
        MissingError: there is no Prometheus and none can be had.
    """

    def __init__(self, fleet: Fleet, directory: Path) -> None:
        self._prometheus = Prometheus(directory, in_seconds)
        self._askers = [Asker(process) for process in fleet.processes]
        for room, job in JOBS.items():
            places = [p.metrics_port for p in fleet.processes if p.room == room]
            self._prometheus.scrapes(job, [f"127.0.0.1:{port}" for port in places])
        self._began = time.monotonic()
        self._before: set[str] = set()

    def __enter__(self) -> Self:
        """Begin to ask."""
        self._prometheus.start()
        every = len(self._askers)
        eventually(lambda: self._prometheus.value("sum(up)") == every, "a scrape of every process")
        for asker in self._askers:
            asker.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ask no more."""
        for asker in self._askers:
            asker.stop()
        self._prometheus.stop()

    def begin(self, quiet: frozenset[str]) -> None:
        """Forget what was seen, as soon as none of these alerts is about."""

        def is_quiet() -> bool:
            self._before = self._prometheus.seen(LOOK_BACK_SECONDS)
            return not quiet & self._before

        eventually(is_quiet, f"the end of {set(quiet)}")
        self._began = time.monotonic()
        for asker in self._askers:
            asker.failing.clear()
            asker.missing.clear()

    @property
    def alerts(self) -> set[str]:
        """The alerts that came to be pending or firing since the beginning."""
        return self._prometheus.seen(time.monotonic() - self._began) - self._before

    def missing(self, room: str) -> set[str]:
        """What any process of a room has named in `/readyz` since the beginning."""
        return {name for asker in self._askers if asker.room == room for name in asker.missing}

    def failing(self) -> list[str]:
        """Why a `/livez` was bad since the beginning; empty when all were good."""
        return [
            f"/livez of a {asker.room}: {why}"
            for asker in self._askers
            for why in sorted(asker.failing)
        ]
