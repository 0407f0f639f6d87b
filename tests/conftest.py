"""Fixtures and reporting for every ring: a broker, a database, and what was taken and why."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from tests.services.broker import (
    BrokerChoice,
    BrokerError,
    choose_broker,
    make_broker,
    missing_for_apache,
    prepare_broker,
)
from tests.services.database import choose_database, fresh_database, make_database
from tests.services.deployment import given_deployment

ROOT = Path(__file__).parents[1]
RINGS = ("unit", "integration", "system", "chaos", "bench")
SYSTEM_TEST_SECONDS = 600
BROKER_FIXTURES = frozenset({"kafka", "deployment", "doubling"})
"""The fixtures that stand on the session's broker."""
BROKER = pytest.StashKey[BrokerChoice]()
USED = pytest.StashKey[list[str]]()


def in_ci() -> bool:
    """Whether the rules of CI hold: no skip, no fallback."""
    return os.environ.get("CI") == "true"


def pytest_configure(config: pytest.Config) -> None:
    """Choose the broker once, before anything runs."""
    # The processes that the tests start would compile every module anew, seconds of each start.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        config.stash[BROKER] = choose_broker()
    except BrokerError as wrong:
        raise pytest.UsageError(str(wrong)) from wrong
    config.stash[USED] = []


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what will be taken, should a test ask for it."""
    return [f"broker: {config.stash[BROKER]}", f"database: {choose_database()}"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the ring whose directory it stands in."""
    for item in items:
        ring = item.path.relative_to(ROOT / "tests").parts[0]
        if ring in RINGS:
            item.add_marker(ring)
        if ring == "system":
            # Starting the stack, which may install LiteLLM first, has a bound of its own.
            item.add_marker(pytest.mark.timeout(SYSTEM_TEST_SECONDS, func_only=True))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch what the broker needs before the first test's clock runs, if a test asks for it."""
    asked = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if given_deployment() or not asked & BROKER_FIXTURES or session.config.option.collectonly:
        return
    try:
        session.config.stash[BROKER] = prepare_broker(
            session.config.stash[BROKER], _writer(session.config), ci=in_ci()
        )
    except BrokerError as missing:
        pytest.exit(str(missing), returncode=pytest.ExitCode.USAGE_ERROR)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test is a failed run."""
    if in_ci() and _skipped(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which services the run used, and what it did not prove."""
    for line in config.stash[USED]:
        terminalreporter.write_line(line)
    if in_ci():
        for name in _skipped(config):
            terminalreporter.write_line(f"skipped, which fails a run in CI: {name}", red=True)
    broker = config.stash[BROKER]
    if not broker.is_reference:
        missing = missing_for_apache() or broker.reason
        terminalreporter.write_line(
            f"The reference broker (Apache Kafka) was not run: {missing}.", yellow=True
        )


def _writer(config: pytest.Config) -> Callable[[str], None]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")

    def write(line: str) -> None:
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
def kafka(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """The bootstrap address of the session's broker; no topic exists unless a test makes it."""
    choice = request.config.stash[BROKER]
    broker = make_broker(choice, tmp_path_factory.mktemp("kafka"))
    broker.start()
    request.config.stash[USED].append(f"broker: {choice}, version {broker.version}")
    yield broker.bootstrap
    broker.stop()


@pytest.fixture
def topic_prefix() -> str:
    """A prefix that no other test uses, for BILLING_TOPIC_PREFIX, groups and transactional ids."""
    return f"t{uuid.uuid4().hex[:10]}."


@pytest.fixture(scope="session")
def database_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of the session's PostgreSQL server, of a role that may create databases."""
    choice = choose_database()
    server = make_database(choice)
    server.start()
    request.config.stash[USED].append(f"database: {choice}, version {server.version}")
    yield server.url
    server.stop()
    server.remove()


@pytest.fixture
def database_url(database_server: str) -> Iterator[str]:
    """The URL of an empty database of this test, without any migration; dropped afterwards."""
    with fresh_database(database_server) as url:
        yield url


@pytest.fixture(scope="session")
def migrated_template(database_server: str) -> Iterator[str]:
    """The name of a database with every migration applied, for copying."""
    with fresh_database(database_server) as url:
        migrate = subprocess.run(
            [sys.executable, "-m", "consumer", "migrate"],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": url},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert migrate.returncode == 0, migrate.stdout + migrate.stderr
        yield url.partition("?")[0].rpartition("/")[2]


@pytest.fixture
def migrated_database_url(database_server: str, migrated_template: str) -> Iterator[str]:
    """The URL of a database of this test with every migration applied; dropped afterwards."""
    with fresh_database(database_server, migrated_template) as url:
        yield url
