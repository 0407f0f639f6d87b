"""Which failures of PostgreSQL are waited for, and which end the consumer with their reason."""

import psycopg
import pytest
from psycopg import errors

from ledger.healing import answered, heals

HEAL = (
    *("08000", "08003", "08006", "08P01"),
    *("40001", "40003", "40P01"),
    *("53000", "53100", "53200", "53300", "53400"),
    *("55000", "55006", "55P03"),
    *("57000", "57014", "57P01", "57P02", "57P03", "57P05"),
    *("58000", "58030"),
    *("25006", "25P03", "25P04"),
    *("F0000", "XX000", "XX001", "XX002"),
)
DO_NOT = (
    *("42P01", "42501", "42703", "42704", "3D000", "3F000", "22023", "28000", "28P01", "0A000"),
    *("23505", "23514", "22003", "22021", "54000", "25P02", "25001"),
)


@pytest.mark.parametrize("state", HEAL)
def test_what_heals_by_itself_or_is_repaired_meanwhile_is_waited_for(state: str) -> None:
    assert heals(errors.lookup(state)())
    assert answered(errors.lookup(state)())


@pytest.mark.parametrize("state", DO_NOT)
def test_what_needs_another_installation_release_or_record_is_not(state: str) -> None:
    assert not heals(errors.lookup(state)())
    assert not answered(errors.lookup(state)())


def test_a_connection_that_broke_or_is_not_to_be_had_heals() -> None:
    """A refused connection has no state: the driver does not hand it out."""
    assert heals(psycopg.OperationalError("server closed the connection unexpectedly"))
    assert heals(errors.ConnectionTimeout("connection timeout expired"))
    assert not heals(psycopg.ProgrammingError("the URL cannot be read"))


@pytest.mark.parametrize(
    ("said", "waits"),
    [
        ("FATAL:  sorry, too many clients already", True),
        ('FATAL:  too many connections for role "billing"', True),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER", True),
        ("FATAL:  no more connections allowed (max_client_conn)", True),
        ("FATAL:  the database system is starting up", True),
        ("FATAL:  the database system is not yet accepting connections", True),
        ("Connection refused\n\tIs the server running on that host", False),
        ('FATAL:  password authentication failed for user "u"', False),
        ('FATAL:  database "no" does not exist', False),
        ("failed to resolve host 'no-such'", False),
    ],
)
def test_at_the_start_only_a_server_that_answers_is_waited_for(said: str, *, waits: bool) -> None:
    assert answered(psycopg.OperationalError(f"connection failed: {said}")) is waits
