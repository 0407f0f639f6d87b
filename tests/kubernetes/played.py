"""Plays the controllers and the node for Jobs where there is none: each ends as the test says."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from tests.kubernetes.api import Api, RefusedError
from tests.waiting import NET_SECONDS

LOOK_SECONDS: Final = 0.05
Outcome = Callable[[str], bool]
"""Whether the Job of this name completes."""


def _ended(*, completed: bool) -> dict[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    first, last = ("SuccessCriteriaMet", "Complete") if completed else ("FailureTarget", "Failed")
    counts = {"completionTime": now, "succeeded": 1} if completed else {"failed": 1}
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": now} for kind in (first, last)
    ]
    return {"startTime": now, **counts, "uncountedTerminatedPods": {}, "conditions": conditions}


class Jobs:
    """The Jobs that were seen in a namespace, in their order, and what else there was then."""

    def __init__(self, api: Api, outcome: Outcome) -> None:
        self._api = api
        self._outcome = outcome
        self._stop = threading.Event()
        self.seen: list[str] = []
        self.beside: dict[str, set[str]] = {}
        """By a Job's name: the workloads that existed when it had not ended yet."""

    def play(self) -> None:
        """End Jobs until `stop`."""
        while not self._stop.wait(LOOK_SECONDS):
            try:
                self._look()
            except RefusedError as refused:
                # The Job that was seen has been deleted meanwhile: Helm does that before a hook.
                if refused.status != httpx.codes.NOT_FOUND:
                    raise

    def stop(self) -> None:
        """Play no more."""
        self._stop.set()

    def _look(self) -> None:
        for job in self._api.listed("jobs"):
            if not job.get("status", {}).get("conditions"):
                self._end(job["metadata"]["name"])

    def _end(self, name: str) -> None:
        self.seen.append(name)
        kinds = ("deployments", "statefulsets")
        self.beside[name] = {one for kind in kinds for one in self._api.names(kind)}
        status = _ended(completed=self._outcome(name))
        self._api.merge("jobs", name, {"status": status}, "status")


@contextmanager
def played_jobs(api: Api, outcome: Outcome = lambda _: True) -> Iterator[Jobs]:
    """End each new Job of a namespace for as long as the block."""
    jobs = Jobs(api, outcome)
    with ThreadPoolExecutor(1) as threads:
        playing = threads.submit(jobs.play)
        try:
            yield jobs
        finally:
            jobs.stop()
            playing.result(NET_SECONDS)
