"""Fixtures of the integration ring."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from consumer.ledger import Ledger
from tests.services.ledger import Ledger as Tables
from tests.services.writing import ROLE


@pytest.fixture
def ledger(migrated_database_url: str) -> Iterator[Ledger]:
    """The consumer's ledger, in the role it acts as."""
    with closing(Ledger(migrated_database_url, ROLE)) as opened:
        yield opened


@pytest.fixture
def tables(migrated_database_url: str) -> Tables:
    """What the ledger wrote, read from outside."""
    return Tables(migrated_database_url)
