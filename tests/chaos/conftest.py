"""Fixtures of the chaos ring."""

from collections.abc import Iterator

import pytest

from tests.chaos.fleet import Fleet, running_fleet


@pytest.fixture(scope="package")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Everything that can be hurt; other tests of the run are to have its processors afterwards."""
    with running_fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet
