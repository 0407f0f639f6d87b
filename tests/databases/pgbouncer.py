"""PgBouncer in front of a PostgreSQL server: the one on the PATH, else Debian's."""

import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import psycopg

from demo.database import Database
from tests.downloads.debian import unpacked
from tests.processes.process import Server, free_port
from tests.waiting import eventually


def _program() -> tuple[Path, Path | None]:
    """Its path, and where its libraries are unless they are the machine's."""
    if found := shutil.which("pgbouncer"):
        return Path(found), None
    root = unpacked("pgbouncer", libraries=True) / "usr"
    libraries = next(root.glob("lib/*-linux-gnu*"))
    return root / "sbin" / "pgbouncer", libraries


class PgBouncer:
    """A pooler with one connection to the server, so that all its clients share one session.

    Args:
        url: of the database behind it.
        mode: what a client has the session for.

    Raises:
        MissingError: the program is not here and cannot be had.
    """

    def __init__(self, url: str, mode: Literal["transaction", "session"], size: int = 1) -> None:
        parts = urlsplit(url)
        port = free_port()
        # Below a temporary directory that every user may enter: it does not run as root either.
        self._directory = Path(tempfile.mkdtemp(prefix="billing-stream-pgbouncer-"))
        program, libraries = _program()
        shutil.copy(program, self._directory / "pgbouncer")
        environment = dict(os.environ)
        if libraries is not None:
            shutil.copytree(libraries, self._directory / "lib", symlinks=True)
            environment["LD_LIBRARY_PATH"] = str(self._directory / "lib")
        users, settings = self._directory / "users.txt", self._directory / "pgbouncer.ini"
        users.write_text(f'"{parts.username}" "{unquote(parts.password or "")}"\n')
        settings.write_text(
            f"[databases]\n* = host={parts.hostname} port={parts.port or 5432}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"pool_mode = {mode}\ndefault_pool_size = {size}\nauth_type = trust\n"
            f"auth_file = {users}\n"
        )
        account = Database(self._directory / "unused", port).account
        for path in (self._directory, *self._directory.rglob("*")):
            if account:
                os.chown(path, account.uid, account.gid, follow_symlinks=False)
        self.port = port
        self.url = url.replace(f":{parts.port}/", f":{port}/")
        self._server = Server(
            "PgBouncer",
            (str(self._directory / "pgbouncer"), str(settings)),
            self._directory / "log",
            env=environment,
            user=account.name if account else None,
            stop_signal=signal.SIGINT,
        )

    def start(self) -> None:
        """Start it and wait until it lets a client through."""
        self._server.start()

        def through() -> bool:
            self._server.check()
            try:
                with psycopg.connect(self.url, connect_timeout=2) as connection:
                    return connection.execute("SELECT 1").fetchone() == (1,)
            except psycopg.OperationalError:
                return False

        eventually(through, "PgBouncer")

    def kill(self) -> None:
        """SIGKILL: all its clients are cut off."""
        self._server.kill()

    def close(self) -> None:
        """End it and delete what it left."""
        self._server.kill()
        shutil.rmtree(self._directory, ignore_errors=True)
