"""Behind the gateway too each fault fires the alert that the runbook names, and no other.

One test, as each begins where the one before ended: what fires goes on firing for ten minutes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg

from tests.databases import credits as sql
from tests.inputs.callbacks import element, in_run
from tests.processes.consuming import Consuming
from tests.processes.guarding import SpendGuard
from tests.processes.prometheus import Alert, Prometheus
from tests.waiting import eventually

NOT_SCRAPED = {("BillingGatewayVanished", "critical", "")}
"""There is no gateway here: the records are as it would write them."""


class Watched:
    """The alerts of a Prometheus, those apart that fired before."""

    def __init__(self, prometheus: Prometheus) -> None:
        self._prometheus = prometheus
        self._before = set[Alert](NOT_SCRAPED)
        self._fires = set[Alert]()

    def newly(
        self, *wanted: tuple[str, str], meanwhile: Callable[[], object] = lambda: None
    ) -> None:
        """Exactly these alerts fire that did not before, while something is done again and again.

        On a busy machine a scrape may be late and a target count as down for a moment; that passes.
        """
        expected = {(name, severity, "") for name, severity in wanted}

        def fires() -> bool:
            meanwhile()
            self._fires = self._prometheus.firing() - self._before
            return self._fires == expected

        try:
            eventually(fires, f"{wanted} and no other alert")
        except TimeoutError as error:
            error.add_note(f"what fired: {sorted(self._fires)}")
            raise
        self._before |= expected

    def quiet(self) -> None:
        """None fires that did not before."""
        eventually(lambda: self._prometheus.firing() <= self._before, "no new alert")


def test_each_fault_behind_the_gateway_fires_the_alert_that_the_runbook_names(
    prometheus: Prometheus, consuming: Consuming, migrated_database_url: str, tmp_path: Path
) -> None:
    guard = SpendGuard(
        migrated_database_url, tmp_path, SPEND_GUARD_WAIT_MS="1000", BILLING_UNKNOWN_ACCOUNT="open"
    )
    member = consuming.member()
    addresses = {"billing-consumer": member.metrics_url, "billing-spend-guard": guard.metrics_url}
    for job, url in addresses.items():
        prometheus.scrapes(job, [url.removeprefix("http://")])
    with guard.running():
        prometheus.start()
        try:
            watched = Watched(prometheus)
            seen = "billing_consumer_assigned_partitions"
            eventually(lambda: prometheus.value(f"count({seen})") is not None, seen)
            calls(watched, consuming)
            credit(watched, consuming, migrated_database_url)
            outages(watched, consuming, guard, migrated_database_url)
            member.process.kill()
            watched.newly(("BillingConsumerDown", "critical"))
        finally:
            prometheus.stop()


def calls(watched: Watched, consuming: Consuming) -> None:
    """Calls that are no ordinary ones."""
    consuming.send(in_run(1))
    consuming.all_committed()
    watched.quiet()

    consuming.send(in_run(2, response_cost=None))
    watched.newly(("BillingPaidModelWithoutCost", "warning"))

    consuming.send(in_run(3, response_cost="-1"))
    watched.newly(("BillingUnusableCost", "warning"))

    consuming.send(in_run(4, status=7))
    watched.newly(("BillingConsumerParks", "warning"))

    consuming.send(in_run(1, response_cost=7))
    watched.newly(("BillingReceiptConflict", "critical"))


def credit(watched: Watched, consuming: Consuming, url: str) -> None:
    """A call that nobody has asked the guard about takes a prepaid account below zero."""
    sql.opened(url, "prepaid", 5)
    consuming.send(element(end_user="prepaid"))
    watched.newly(("BillingAccountBelowLimit", "warning"))


def outages(watched: Watched, consuming: Consuming, guard: SpendGuard, url: str) -> None:
    """PostgreSQL away, as the guard and as the consumer meet it; and the guard itself."""
    with refused(url):
        asked = guard.ask("acct", "away", 1)
        assert asked.status_code == httpx.codes.SERVICE_UNAVAILABLE
        consuming.send(in_run(9))
        watched.newly(
            ("BillingConsumerRetries", "critical"),
            ("BillingSpendGuardAnswersNothing", "critical"),
            meanwhile=lambda: guard.ask("acct", "away", 1),
        )
    consuming.all_committed()
    guard.server.kill()
    watched.newly(("BillingSpendGuardDown", "critical"))


@contextmanager
def refused(url: str) -> Iterator[None]:
    """A database that takes nobody while the context lasts."""
    name = url.rpartition("/")[2].partition("?")[0]
    with psycopg.connect(url.replace(f"/{name}", "/postgres"), autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        try:
            yield
        finally:
            connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
