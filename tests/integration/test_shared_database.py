"""The server that all workers share has room for all of them."""

from contextlib import ExitStack

import psycopg

from tests.conftest import WORKERS_AT_MOST

SESSIONS_OF_A_WORKER = 20
"""So many has a test of holds."""


def test_every_worker_may_have_as_many_sessions_as_the_largest_test(database_url: str) -> None:
    with ExitStack() as stack:
        for _ in range(WORKERS_AT_MOST * SESSIONS_OF_A_WORKER):
            stack.enter_context(psycopg.connect(database_url))
