"""Fixtures and reporting for every ring: a broker, a database, and what was taken and why."""

import gc
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import structlog
from xdist.remote import Producer

from tests.brokers.broker import BrokerChoice, BrokerError, choose_broker, missing_for_apache
from tests.databases.database import choose_database, fresh_database
from tests.processes import restarts
from tests.processes.restarts import Notes
from tests.session.shared import Services, ask
from tests.session.side_by_side import SideBySide, misplaced, place_of

ROOT = Path(__file__).parents[1]
RINGS = ("unit", "repository", "integration", "system", "chaos", "cluster", "bench")
SYSTEM_TEST_SECONDS = 1200
WORKERS_A_CORE: Final = 3
"""Most tests wait for a broker, a database or a process, so there are more than cores."""
WORKERS_AT_MOST: Final = 12
"""More would only wait for the longest group."""
BROKER = pytest.StashKey[BrokerChoice]()
SHARED = pytest.StashKey[Path]()
SERVICES = pytest.StashKey[Services]()


def in_ci() -> bool:
    """Whether the rules of CI hold: no skip, no fallback."""
    return os.environ.get("CI") == "true"


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:  # noqa: ARG001 - its signature
    """How many processes `-n auto` means."""
    return min(WORKERS_A_CORE * (os.cpu_count() or 1), WORKERS_AT_MOST)


def pytest_configure(config: pytest.Config) -> None:
    """Choose the broker once, before anything runs; begin to serve what all workers share."""
    # The processes that the tests start would compile every module anew, seconds of each start.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        config.stash[BROKER] = choose_broker()
    except BrokerError as wrong:
        raise pytest.UsageError(str(wrong)) from wrong
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    given = worker["shared"] if worker else tempfile.mkdtemp(prefix="billing-stream-shared-")
    config.stash[SHARED] = Path(given)
    Notes.file = config.stash[SHARED] / "restarts"
    if worker is None:
        config.stash[SERVICES] = Services(
            config.stash[SHARED], config.stash[BROKER], _writer(config), ci=in_ci()
        )


def pytest_sessionstart(session: pytest.Session) -> None:
    """Where many tests of the integration ring run side by side, start what they all wait for."""
    services = session.config.stash.get(SERVICES, None)
    if services is not None and session.config.getoption("numprocesses", None):
        given = [Path(argument).resolve() for argument in session.config.args]
        if any((ROOT / "tests" / "integration").is_relative_to(path) for path in given):
            services.begin()


def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 - xdist's, which has no types
    """Tell each worker where the shared services are asked for."""
    node.workerinput["shared"] = str(node.config.stash[SHARED])


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what will be taken, should a test ask for it."""
    return [f"broker: {config.stash[BROKER]}", f"database: {choose_database()}"]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> SideBySide:
    """Who gives tests to the workers."""
    # Otherwise groups of many tests go first, not those that take long.
    config.option.loadscopereorder = False
    return SideBySide(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its ring, and put those first that take longest."""
    for item in items:
        ring = item.path.relative_to(ROOT / "tests").parts[0]
        if ring in RINGS:
            item.add_marker(ring)
        if ring == "system":
            # Starting the stack, which may install LiteLLM first, has a bound of its own.
            item.add_marker(pytest.mark.timeout(SYSTEM_TEST_SECONDS, func_only=True))
    items.sort(key=lambda item: place_of(item.nodeid))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test in the wrong group fails; an error at its collection would be lost in its worker."""
    if wrong := misplaced(item.nodeid, getattr(item, "fixturenames", ())):
        pytest.fail(wrong, pytrace=False)


def pytest_collection_finish() -> None:
    """Look for garbage no more among what is there for the whole run: thousands of tests."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test is a failed run."""
    if in_ci() and _skipped(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what was shared."""
    services = config.stash.get(SERVICES, None)
    if services is not None:
        services.close()
        shutil.rmtree(config.stash[SHARED], ignore_errors=True)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which services the run used, what was begun again, and what it did not prove."""
    services = config.stash[SERVICES]
    for line in (*services.used, *restarts.told(config.stash[SHARED] / "restarts")):
        terminalreporter.write_line(line)
    if in_ci():
        for name in _skipped(config):
            terminalreporter.write_line(f"skipped, which fails a run in CI: {name}", red=True)
    broker = services.choice
    if not broker.is_reference:
        missing = missing_for_apache() or broker.reason
        terminalreporter.write_line(
            f"The reference broker (Apache Kafka) was not run: {missing}.", yellow=True
        )


def _writer(config: pytest.Config) -> Callable[[str], None]:
    def write(line: str) -> None:
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(line)

    return write


def _skipped(config: pytest.Config) -> list[str]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return [report.nodeid for report in reporter.stats.get("skipped", [])] if reporter else []


@pytest.fixture(autouse=True)
def default_logging() -> Iterator[None]:
    """A command run inside a test sends its log to that test's stderr, which is closed after it."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> str:
    """The bootstrap address of the run's broker; no topic exists unless a test makes it."""
    return ask(request.config.stash[SHARED], "kafka")


@pytest.fixture
def topic_prefix() -> str:
    """A prefix that no other test uses, for BILLING_TOPIC_PREFIX, groups and transactional ids."""
    return f"t{uuid.uuid4().hex[:10]}."


@pytest.fixture(scope="session")
def database_server(request: pytest.FixtureRequest) -> str:
    """The URL of the run's PostgreSQL server, of a role that may create databases."""
    return ask(request.config.stash[SHARED], "database")


@pytest.fixture
def database_url(database_server: str) -> Iterator[str]:
    """The URL of an empty database of this test, without any migration; dropped afterwards."""
    with fresh_database(database_server) as url:
        yield url


@pytest.fixture(scope="session")
def migrated_template(request: pytest.FixtureRequest) -> str:
    """The name of a database with every migration applied, for copying."""
    return ask(request.config.stash[SHARED], "template")


@pytest.fixture
def migrated_database_url(database_server: str, migrated_template: str) -> Iterator[str]:
    """The URL of a database of this test with every migration applied; dropped afterwards."""
    with fresh_database(database_server, migrated_template) as url:
        yield url
