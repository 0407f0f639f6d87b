"""The ids of the tests: what pytest-xdist knows a test by."""

import os
import subprocess
import sys

import pytest

from tests.waiting import NET_SECONDS


@pytest.mark.slow
def test_an_id_has_nothing_of_the_moment_or_the_process_that_found_it(
    request: pytest.FixtureRequest,
) -> None:
    """Workers that find different ids end the run.

    A compressed input has the second of its making in it, a set the order of its process. So the
    ids are found again, later and in another process, and are those of this run.
    """
    items = request.session.items
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *request.config.args],
        cwd=request.config.invocation_params.dir,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=True,
        timeout=NET_SECONDS,
    )
    assert {item.nodeid for item in items} - set(found.stdout.splitlines()) == set()
