"""Failures of PostgreSQL: which of them heal while a process waits, and what to do about others."""

from typing import Final, TypeAlias

from psycopg import Error, OperationalError, errors

LedgerError: TypeAlias = Error
"""What everything here raises where PostgreSQL is away, refuses something or is not as it must be;
its `sqlstate` is PostgreSQL's code."""

_CLASSES: Final = frozenset({
    "08",  # the connection
    "40",  # serialisation, deadlock, a commit whose end is not known
    "53",  # disk full, out of memory, no connection left, a limit of the configuration
    "55",  # a lock that was not to be had, an object that is in use or not ready
    "57",  # cancelled, shut down, crashed, starting
    "58",  # input and output of the server's machine
    "72",  # a snapshot too old
    "F0",  # the server's own configuration file
    "XX",  # its own defects, damaged pages among them, which somebody has to mend
})  # fmt: skip
_STATES: Final = frozenset({
    "25006",  # read-only: a demoted primary, a managed server whose disk is nearly full
    "25P03",  # idle in transaction for too long: this process stood still
    "25P04",  # a transaction that took too long
})  # fmt: skip
_FULL: Final = ("too many c", "connection slots are reserved", "no more connections allowed")
_STARTING: Final = ("the database system is ", "the database system is not ")


def heals(error: Error) -> bool:
    """Say whether trying again may succeed without a change to the records or the installation.

    Not among them: a table, a role or a database that is not there, and what is not permitted. The
    process ends there with its reason, because the installation is unfinished or a wrong one.
    """
    state = error.sqlstate
    if state is None:
        # No connection, or one that broke: the driver knows no state then.
        return isinstance(error, OperationalError)
    return state[:2] in _CLASSES or state in _STATES


def answered(error: Error) -> bool:
    """Say whether the failure is a server's own answer that heals.

    A server that cannot be reached at all gives none: at the start the address may be wrong. The
    driver hands out no state of a refused connection, so PostgreSQL's English words tell.
    """
    if error.sqlstate is not None:
        return heals(error)
    return any(words in str(error) for words in _FULL + _STARTING)


def kept_waiting(error: Error) -> bool:
    """Say whether the server is well, and another transaction kept what was to be locked."""
    return isinstance(error, errors.LockNotAvailable | errors.DeadlockDetected)


def advice(error: LedgerError, role: str = "", setting: str = "CONSUMER_DATABASE_ROLE") -> str:
    """Return what is wrong and what to do about it, a sentence for an operator.

    `role` is the one that was to be acted as, where there is one, and `setting` what names it.
    """
    match error:
        case errors.UndefinedTable() | errors.InvalidSchemaName():
            return "the database has no ledger yet: run `billing migrate`"
        case errors.UndefinedColumn() | errors.UndefinedFunction():
            return (
                "the ledger is of an earlier release than this one: run `billing migrate`. "
                f"PostgreSQL: {str(error).strip()}"
            )
        case errors.InsufficientPrivilege() if role:
            return (
                f"PostgreSQL: {str(error).strip()}. Run `billing migrate`; if "
                f"DATABASE_URL names another user here, run `GRANT {role} TO` that user"
            )
    what = f"DATABASE_URL and {setting}" if role else "DATABASE_URL"
    return f"PostgreSQL: {str(error).strip()}. Check {what}"
