"""The deployment under test: the one that the environment describes, else the project's own."""

import os
import random
import secrets
from collections.abc import Iterator

import pytest

from tests.databases.database import fresh_database
from tests.inputs.captures import Calls
from tests.observers.deployment import Deployment, DeploymentError, given_deployment
from tests.observers.ledger import Ledger
from tests.observers.topics import Topics
from tests.processes.stack import running_stack

SEED = int(os.environ.get("TEST_SEED") or secrets.randbelow(2**31))


def pytest_report_header() -> list[str]:
    """Say what is tested and how to make up the same calls again."""
    try:
        given = given_deployment()
    except DeploymentError as half:
        raise pytest.UsageError(str(half)) from half
    what = given.gateway_url if given else "its own stack, started for this run"
    return [f"system under test: {what}", f"seed: TEST_SEED={SEED}"]


@pytest.fixture(scope="session")
def deployment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """The deployment under test. Own stack: with a LiteLLM proxy, markup 1, all free lists set."""
    given = given_deployment()
    if given is not None:
        yield given
        return
    with (
        fresh_database(request.getfixturevalue("database_server")) as url,
        running_stack(
            tmp_path_factory.mktemp("stack"),
            bootstrap=request.getfixturevalue("kafka"),
            database_url=url,
            topic_prefix=f"s{secrets.token_hex(4)}.",
            litellm=True,
        ) as stack,
    ):
        yield stack


@pytest.fixture(scope="session")
def doubling(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """A second stack of our own, with BILLING_MARKUP=2."""
    if given_deployment() is not None:
        pytest.skip("needs a second deployment with BILLING_MARKUP=2")
    with (
        fresh_database(request.getfixturevalue("database_server")) as url,
        running_stack(
            tmp_path_factory.mktemp("doubling"),
            bootstrap=request.getfixturevalue("kafka"),
            database_url=url,
            topic_prefix=f"d{secrets.token_hex(4)}.",
            settings={"BILLING_MARKUP": "2"},
        ) as stack,
    ):
        yield stack


@pytest.fixture(scope="session")
def topics(deployment: Deployment) -> Iterator[Topics]:
    """The deployment's topics."""
    topics = Topics(deployment)
    yield topics
    topics.close()


@pytest.fixture(scope="session")
def ledger(deployment: Deployment) -> Ledger:
    """The deployment's tables."""
    return Ledger(deployment.database_url)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Chance of this test alone: the same for the same TEST_SEED, whatever else runs."""
    return random.Random(f"{SEED}:{request.node.nodeid}")  # noqa: S311 - not for secrets


@pytest.fixture
def calls(rng: random.Random) -> Calls:
    """Makes up calls for this test."""
    return Calls(rng)


@pytest.fixture(autouse=True)
def processes_stay_up(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test sends, gateway and consumer are the same processes afterwards."""
    if "deployment" not in request.fixturenames:
        yield
        return
    deployment: Deployment = request.getfixturevalue("deployment")
    before = deployment.counted()
    yield
    after = deployment.counted()
    gone_back = {name for name, value in before.items() if after.get(name, 0) < value}
    assert not gone_back, "the gateway or the consumer was restarted"
