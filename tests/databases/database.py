"""Which PostgreSQL the tests run against, and a fresh database for each test."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tests.databases.container import DockerPostgres
from tests.databases.embedded_postgres import EmbeddedPostgres
from tests.processes.docker import engine_answers
from tests.processes.process import ServerError
from tests.waiting import NET_SECONDS

ROOT = Path(__file__).parents[2]
Kind = Literal["external", "docker", "embedded"]


class Database(Protocol):
    """What the tests need of a PostgreSQL server; `url` belongs to a role that may create."""

    url: str
    version: str

    def start(self) -> None:
        """Start it and wait until it answers."""

    def stop(self) -> None:
        """End it in order."""

    def remove(self) -> None:
        """Delete what it left."""


class External:
    """A server that somebody else runs."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.version = "unknown"

    def start(self) -> None:
        """Not ours to start."""

    def stop(self) -> None:
        """Not ours to stop."""

    def remove(self) -> None:
        """Not ours to delete."""


@dataclass(frozen=True)
class DatabaseChoice:
    """A kind of server, and the reason for it in words."""

    kind: Kind
    reason: str

    def __str__(self) -> str:
        """One line for people."""
        what = {
            "external": "the one of TEST_DATABASE_URL",
            "docker": "PostgreSQL in a container",
            "embedded": "PostgreSQL from a wheel",
        }[self.kind]
        return f"{what} ({self.reason})"


def choose_database(environment: Mapping[str, str] | None = None) -> DatabaseChoice:
    """Decide, without starting anything: TEST_DATABASE_URL, else Docker, else the wheel."""
    environment = os.environ if environment is None else environment
    if environment.get("TEST_DATABASE_URL"):
        return DatabaseChoice("external", "TEST_DATABASE_URL is set")
    if engine_answers():
        return DatabaseChoice("docker", "a Docker engine answers")
    return DatabaseChoice("embedded", "no Docker engine answers")


def make_database(
    choice: DatabaseChoice, settings: Mapping[str, str] | None = None, place: Path | None = None
) -> Database:
    """The server that was chosen, not yet started.

    Args:
        choice: which one.
        settings: what is not to be PostgreSQL's default; an external server keeps its own.
        place: below which the data of the wheel's server go; default: a temporary directory.
    """
    options = [part for pair in (settings or {}).items() for part in ("-c", "=".join(pair))]
    match choice.kind:
        case "external":
            return External(os.environ["TEST_DATABASE_URL"])
        case "docker":
            return DockerPostgres(options)
        case "embedded":
            return EmbeddedPostgres(options, place)


SHARED: Final = {"fsync": "off", "full_page_writes": "off", "max_connections": "500"}
"""Of a server that nobody kills and whose data nobody wants afterwards.

A dozen workers may use it, and a test of holds has twenty sessions, one of guards some pools.
"""


@contextmanager
def running_database(place: Path | None = None) -> Iterator[tuple[str, str]]:
    """The server that `choose_database` names, for as long as the block.

    Args:
        place: as of `make_database`.

    Yields:
        Its URL, of a role that may create databases, and a line on what it is.
    """
    choice = choose_database()
    server = make_database(choice, SHARED, place)
    server.start()
    try:
        yield server.url, f"database: {choice}, version {server.version}"
    finally:
        server.stop()
        server.remove()


def with_database(url: str, name: str) -> str:
    """The same server's URL with another database in its path; options stay."""
    head, question, options = url.partition("?")
    server = head[: head.rindex("/")] if conninfo_to_dict(url).get("dbname") else head.rstrip("/")
    return f"{server}/{name}{question}{options}"


@contextmanager
def fresh_database(url: str, template: str = "template1") -> Iterator[str]:
    """A database of its own, dropped at the end even when sessions are still open in it.

    Args:
        url: a server's URL of a role that may create databases.
        template: the database to copy; nobody may be connected to it.

    Yields:
        The URL of the new database.
    """
    name = f"billing_test_{secrets.token_hex(6)}"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    try:
        yield with_database(url, name)
    finally:
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


@contextmanager
def migrated_template(url: str) -> Iterator[str]:
    """A database with every migration applied, for copying.

    Args:
        url: a server's URL of a role that may create databases.

    Yields:
        Its name.

    Raises:
        ServerError: the migration failed; with what it said.
    """
    with fresh_database(url) as made:
        migrate = subprocess.run(
            [sys.executable, "-m", "consumer", "migrate"],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": made},
            capture_output=True,
            text=True,
            check=False,
            timeout=NET_SECONDS,
        )
        if migrate.returncode != 0:
            raise ServerError(migrate.stdout + migrate.stderr)
        yield made.partition("?")[0].rpartition("/")[2]
