"""Bringing the database to the schema that this release needs.

A migration is a file of SQL, `migrations/sql/<revision>_<name>.sql`; the order of the names is the
order in which they are applied, all that are pending in one transaction. One that ends in
`.concurrently.sql` is applied step by step instead (`steps`), beside members that write; a ledger
that is new has none, and gets it in the transaction. One that ends in `.contract.sql` takes away
what members of the release before ask by: in steps too, and not while one of them is connected.
The table `billing.schema_migrations` holds
the last revision, as Alembic writes it, which earlier releases use.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files
from typing import Any, Final, LiteralString, TypeVar

import structlog
from psycopg import Connection, errors

from ledger.address import connect
from ledger.identities import identify
from ledger.queries import query
from ledger.steps import alone, at_once, run

log = structlog.get_logger("ledger")

_T = TypeVar("_T")
_ATTEMPTS: Final = 10
"""How often a migration may meet a deadlock. PostgreSQL takes a second to find each."""
_REFUSALS: Final = 50
"""How often it may wait in vain for a table that somebody holds."""
_PAUSE_SECONDS: Final = 5.0
"""At most so long between two of them, so that whoever waits behind it comes through."""
_CONTRACT: Final = ".contract.sql"
_LOOKS: Final = 5
_LOOK_SECONDS: Final = 0.5
_STEPWISE: Final = (".concurrently.sql", _CONTRACT)
_IDENTIFIES: Final = "0010"
"""From this revision on, deferred calls say which receipt would be theirs."""


class NewerSchemaError(Exception):
    """The database has a revision that this release does not know."""


class UnknownRevisionError(Exception):
    """There is no such migration in this release."""


class FormerMemberError(Exception):
    """A consumer is connected that is too old for what is pending; the text says which."""


class TableHeldError(Exception):
    """Somebody holds a table for so long that the migration gave up; the text says who."""


def migrations() -> dict[str, LiteralString]:
    """Return the SQL of each migration by its revision, in the order in which they are applied."""
    # They are part of the release, so their text is as trusted as a literal.
    return {
        _revision(name): files("ledger").joinpath("migrations", "sql", name).read_text("utf-8")
        for name in _names()
    }


def stepwise() -> frozenset[str]:
    """Return the revisions that are applied step by step where there is a ledger already."""
    return frozenset(_revision(name) for name in _names() if name.endswith(_STEPWISE))


def newest() -> str:
    """Return the last migration that this release knows."""
    return _revision(_names()[-1])


def _revision(name: str) -> str:
    return name.partition("_")[0]


def _contracts(revision: str) -> bool:
    return any(_revision(name) == revision and name.endswith(_CONTRACT) for name in _names())


def _names() -> list[str]:
    found = files("ledger").joinpath("migrations", "sql").iterdir()
    return sorted(file.name for file in found if file.name.endswith(".sql"))


def migrate(database_url: str, to: str | None = None) -> Sequence[str]:
    """Apply what is pending, one process at a time; return the revisions.

    None of them where another process was quicker. What is in one transaction changes all or
    nothing; a migration in steps goes on where it was interrupted when this is called again. Safe
    to run from several places at once, to run again, and beside consumers that write: they take
    the tables in another order than migrations do, so that a deadlock may undo a transaction, and
    then it is tried again; so it is where a table is not to be had within two seconds, which is
    how long a consumer may wait for a migration. In the end deferrals that former releases wrote
    are `identified`. `to` is the last revision to apply; none: all. The last one stays pending
    where it is `held_back`.

    Raises `NewerSchemaError`, `UnknownRevisionError`, `FormerMemberError`, `TableHeldError` and
    `psycopg.Error`.
    """
    if to is not None and to not in migrations():
        raise UnknownRevisionError(f"this release knows no migration {to}")
    applied = list[str]()
    while True:
        applied += _patiently(database_url, partial(_in_transaction, database_url, to))
        identified(database_url)
        if (member := held_back(database_url, to)) is not None:
            if len(pending(database_url)) > 1:
                raise FormerMemberError(member)
            return applied
        stepped = _step_by_step(database_url, to)
        if stepped is None:
            return applied
        applied.append(stepped)


def held_back(database_url: str, to: str | None = None) -> str | None:
    """Return which consumer the next migration waits for; None where it waits for none.

    A consumer that is not connected at this moment is not seen. Raises as `pending`.
    """
    revision = _next_stepwise(database_url, to)
    if revision is None or not _contracts(revision):
        return None
    looks = 0
    with _connect(database_url, autocommit=True) as connection:
        # The server lists a session for a moment after it has ended.
        while row := connection.execute(
            query("find_former_member"), {"revision": revision}
        ).fetchone():
            looks += 1
            if looks == _LOOKS:
                break
            time.sleep(_LOOK_SECONDS)
    if row is None:
        return None
    pid, application, address, since = row
    # Another user's address and time are shown to who may see all sessions.
    where = f" at {address}" if address else ""
    when = f", connected since {since:%Y-%m-%d %H:%M:%S %Z}" if since else ""
    return f"process {pid} ({application}{where}{when}) is a consumer of an earlier release"


def identified(database_url: str) -> int:
    """Tell each deferral that does not say so which receipt would be its; return how many.

    Does nothing before the migration that lets them say it. Raises as `migrate`.
    """
    with _connect(database_url, autocommit=True) as connection:
        row = connection.execute(query("find_revision")).fetchone()
        if row is None or row[0] < _IDENTIFIES:
            return 0
        count = _patiently(database_url, partial(identify, connection))
    if count:
        log.info("deferred calls were told their receipts' ids", calls=count)
    return count


def pending(database_url: str) -> Sequence[str]:
    """Return the revisions that are not applied yet, oldest first; changes nothing.

    Raises `psycopg.Error`, where the database cannot be reached for instance, and
    `NewerSchemaError`.
    """
    with _connect(database_url) as connection:
        try:
            return _missing(connection, list(migrations()))
        except (errors.UndefinedTable, errors.InvalidSchemaName):
            return list(migrations())


def _connect(database_url: str, **settings: Any) -> Connection[tuple[Any, ...]]:  # noqa: ANN401 - psycopg's own
    return connect(database_url, "billing-migrate", **settings)


def _patiently(database_url: str, attempt: Callable[[], _T]) -> _T:
    """Try again after a deadlock, and where a table was not to be had. Raises `TableHeldError`."""
    deadlocks, refusals = 0, 0
    while True:
        try:
            return attempt()
        except errors.DeadlockDetected:
            deadlocks += 1
            if deadlocks == _ATTEMPTS:
                raise
            log.warning("the migration met a deadlock and is tried again", attempt=deadlocks)
        except errors.LockNotAvailable as error:
            refusals += 1
            holder = _holder(database_url)
            if refusals == _REFUSALS:
                raise TableHeldError(holder) from error
            log.warning("the migration waits for a table", attempt=refusals, holder=holder)
            time.sleep(min(_PAUSE_SECONDS, refusals))


def _holder(database_url: str) -> str:
    with _connect(database_url) as connection:
        row = connection.execute(query("find_holder")).fetchone()
    if row is None:
        return "a table of the ledger was held, and is free now: run it again"
    pid, application, table, since = row
    return (
        f"process {pid} ({application or 'without a name'}) has held {table}"
        f"{f' since {since:%Y-%m-%d %H:%M:%S %Z}' if since else ''}: wait for its end, or "
        f"`SELECT pg_terminate_backend({pid})`, and run it again"
    )


def _in_transaction(database_url: str, to: str | None) -> Sequence[str]:
    """Apply what comes before the next migration in steps; all of it where the ledger is new."""
    known, in_steps = migrations(), stepwise()
    with _connect(database_url) as connection:
        connection.execute(query("lock_migrations"))
        connection.execute(query("create_schema_migrations"))
        missing = _missing(connection, list(known), to)
        new = len(missing) > 0 and missing[0] == min(known)
        applied = list[str]()
        for revision in missing:
            if revision in in_steps and not new:
                break
            began = time.monotonic()
            sql = known[revision]
            connection.execute(at_once(sql) if revision in in_steps else sql)
            if not new:
                _log_step(revision, "in one transaction", began)
            applied.append(revision)
        if applied:
            connection.execute(query("move_revision"), {"revision": applied[-1]})
    return applied


def _step_by_step(database_url: str, to: str | None) -> str | None:
    """Apply the next pending migration if it is one in steps; return its revision, else None."""
    known = migrations()
    if _next_stepwise(database_url, to) is None:
        return None
    with alone(partial(_connect, database_url)) as held:
        # Another process may have done it meanwhile.
        revision = _next_stepwise(database_url, to)
        if revision is None:
            return None
        with _connect(database_url, autocommit=True) as connection:
            for step in run(connection, known[revision]):
                # Without it, another process may be at work as well.
                held.execute("SELECT")
                began = time.monotonic()
                _patiently(database_url, step.take)
                _log_step(revision, step.name, began)
            connection.execute(query("move_revision"), {"revision": revision})
    return revision


def _next_stepwise(database_url: str, to: str | None) -> str | None:
    with _connect(database_url) as connection:
        missing = _missing(connection, list(migrations()), to)
    return missing[0] if missing and missing[0] in stepwise() else None


def _log_step(revision: str, step: str, began: float) -> None:
    seconds = round(time.monotonic() - began, 1)
    log.info("migrated", revision=revision, step=step, seconds=seconds)


def _missing(
    connection: Connection[tuple[Any, ...]], known: Sequence[str], to: str | None = None
) -> Sequence[str]:
    row = connection.execute(query("find_revision")).fetchone()
    if row is not None and row[0] not in known:
        raise NewerSchemaError(f"the schema is at {row[0]}, this release ends at {known[-1]}")
    found = known if row is None else known[known.index(row[0]) + 1 :]
    return [revision for revision in found if to is None or revision <= to]
