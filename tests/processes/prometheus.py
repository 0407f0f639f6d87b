"""A Prometheus with the project's own rules, in a hurry, and the alerts that fire in it."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import yaml

from tests.clients import fetching
from tests.downloads.promtool import program
from tests.processes.process import Server, free_port
from tests.waiting import eventually

RULES: Final = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yml"
OFTEN: Final = "1s"
IMPATIENT: Final = partial(re.sub, r"for: \w+", "for: 2s")

Alert = tuple[str, str, str]
"""Name, severity and source, which is empty for most."""


class Course(NamedTuple):
    """A series over a time: its labels, and its values at seconds since the epoch."""

    labels: dict[str, str]
    times: list[float]
    values: list[float]


class Prometheus:
    """Scrapes each second by the jobs of deploy/prometheus.

    Args:
        directory: takes configuration, data and log.
        hurry: makes of the project's rules those that it takes; by default no alert waits longer
            than two seconds.

    Raises:
        MissingError: the program is not here and cannot be had.
    """

    def __init__(self, directory: Path, hurry: Callable[[str], str] = IMPATIENT) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._directory = directory
        (directory / "rules.yml").write_text(hurry(RULES.read_text()))
        jobs = [f"billing-{room}" for room in ("gateway", "consumer", "reconciler", "spend-guard")]
        jobs += ["litellm"]
        for job in jobs:
            self.scrapes(job, [])
        configuration = {
            "global": {"scrape_interval": OFTEN, "evaluation_interval": OFTEN},
            "rule_files": ["rules.yml"],
            "scrape_configs": [
                {"job_name": job, "file_sd_configs": [{"files": [f"{job}.json"]}]} for job in jobs
            ],
        }
        (directory / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        command = [str(program("prometheus")), f"--config.file={directory / 'prometheus.yml'}"]
        command += [f"--storage.tsdb.path={directory / 'data'}"]
        command += [f"--web.listen-address={self.address}"]
        self._server = Server("prometheus", command, directory / "prometheus.log")

    def scrapes(self, job: str, targets: list[str]) -> None:
        """Say where a job finds its targets from now on."""
        file = self._directory / f"{job}.json"
        incoming = file.with_suffix(".new")
        incoming.write_text(json.dumps([{"targets": targets}]))
        incoming.rename(file)

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._server.start()
        eventually(self._answers, "Prometheus")

    def stop(self) -> None:
        """End it."""
        self._server.stop()

    def value(self, query: str) -> float | None:
        """The only value of a query; None where there is none."""
        found = self._get("query", query=query)["result"]
        return float(found[0]["value"][1]) if found else None

    def values(self, query: str) -> int:
        """How many values a query has; fails where it is none."""
        return len(self._get("query", query=query)["result"])

    def course(self, query: str, start: float, end: float, step: float) -> list[Course]:
        """Each series of a query, over a time."""
        told = {"query": query, "start": str(start), "end": str(end), "step": str(step)}
        return [
            Course(
                one["metric"],
                [at for at, _ in one["values"]],
                [float(value) for _, value in one["values"]],
            )
            for one in self._get("query_range", **told)["result"]
        ]

    def firing(self) -> set[Alert]:
        """The alerts that fire now."""
        return {
            (
                alert["labels"]["alertname"],
                alert["labels"]["severity"],
                alert["labels"].get("source", ""),
            )
            for alert in self._get("alerts")["alerts"]
            if alert["state"] == "firing"
        }

    def seen(self, seconds: float) -> set[str]:
        """The names of the alerts that were pending or firing within so many last seconds."""
        query = f"group by (alertname) (last_over_time(ALERTS[{max(1, round(seconds))}s]))"
        found = self._get("query", query=query)["result"]
        return {alert["metric"]["alertname"] for alert in found}

    def _answers(self) -> bool:
        self._server.check()
        try:
            return fetching.probe(f"http://{self.address}/-/ready").is_success
        except httpx.TransportError:
            return False

    def _get(self, what: str, **parameters: str) -> dict[str, Any]:
        answer = fetching.get(
            f"http://{self.address}/api/v1/{what}",
            params=parameters,
        )
        data: dict[str, Any] = answer.raise_for_status().json()["data"]
        return data
