"""What processes have used: CPU as the kernel counts it, and what PostgreSQL wrote.

CPU is user and system time of a process and its children, those that have ended included. It is
what a call costs whoever else is at work on the machine; the rate that goes with it is not.
"""

from dataclasses import dataclass
from typing import Any, Final, LiteralString, Self

import psutil
import psycopg
from psycopg.conninfo import conninfo_to_dict

MICRO: Final = 1e6
DEFAULT_PORT: Final = 5432
_TRIES: Final = 100
_BYTES: Final[LiteralString] = """
SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8, (
    SELECT sum(pg_total_relation_size(oid))::float8 FROM pg_class
    WHERE relnamespace = 'billing'::regnamespace AND relkind = 'r'
)
"""


class ElsewhereError(RuntimeError):
    """A server is no process of this machine, so nobody here knows what it used."""


def cpu_seconds(process: psutil.Process) -> float:
    """CPU seconds of a process and its children, also of those that have ended.

    Raises:
        psutil.NoSuchProcess: the process itself is gone.
    """
    for _ in range(_TRIES):
        try:
            # The parent first: a child that ends meanwhile is not there any more, or counts once.
            family = [process, *process.children(recursive=True)]
            times = [member.cpu_times() for member in family]
        except psutil.NoSuchProcess as ended:
            if ended.pid == process.pid:
                raise
            continue
        living = sum(each.user + each.system for each in times)
        return living + sum(each.children_user + each.children_system for each in times)
    raise ElsewhereError(f"the children of process {process.pid} come and go too fast to be read")


def main_thread_seconds(process: psutil.Process) -> float:
    """CPU seconds of the thread with which a process began."""
    return sum(
        thread.user_time + thread.system_time
        for thread in process.threads()
        if thread.id == process.pid
    )


def listener(port: int, program: str) -> psutil.Process:
    """The process of this machine that listens on a port and is called so.

    Raises:
        ElsewhereError: none does; what stands in for a container's is none.
    """
    for each in psutil.net_connections("tcp"):
        here = each.laddr and each.laddr.port == port
        if here and each.status == psutil.CONN_LISTEN and each.pid:
            process = psutil.Process(each.pid)
            if process.name() == program:
                return process
    raise ElsewhereError(f"no {program} listens on {port} here: CPU needs it on this machine")


def broker(bootstrap: str) -> psutil.Process:
    """The broker's process. Raises `ElsewhereError`."""
    return listener(int(bootstrap.rpartition(":")[2]), "java")


def database(url: str) -> psutil.Process:
    """PostgreSQL's first process. Raises `ElsewhereError`."""
    return listener(int(conninfo_to_dict(url).get("port") or DEFAULT_PORT), "postgres")


@dataclass(frozen=True)
class Spent:
    """CPU of a consumer, or of a gateway, and of what is behind it."""

    process: float
    server: float
    broker: float

    @property
    def whole(self) -> float:
        """Of all of them together."""
        return self.process + self.server + self.broker


class Processes:
    """A consumer, its database and its broker: what one callback takes of each.

    Raises:
        ElsewhereError: one of them is no process of this machine.
    """

    def __init__(self, process: int, database_url: str, bootstrap: str) -> None:
        self._processes = psutil.Process(process), database(database_url), broker(bootstrap)

    def read(self) -> Spent:
        """Seconds until now."""
        return Spent(*map(cpu_seconds, self._processes))

    def since(self, earlier: Spent, callbacks: int) -> Spent:
        """Microseconds of a callback since then."""
        now, each = self.read(), MICRO / callbacks
        return Spent(
            (now.process - earlier.process) * each,
            (now.server - earlier.server) * each,
            (now.broker - earlier.broker) * each,
        )


@dataclass(frozen=True)
class Kept:
    """What PostgreSQL has used until now: CPU seconds, bytes of WAL, bytes of tables and indexes.

    CPU and WAL are the whole server's, tables and indexes those of the schema `billing` of one
    database. A difference of two is what was used between them.
    """

    cpu: float
    wal: float
    tables: float

    def __sub__(self, earlier: Self) -> "Kept":
        """What was used since then."""
        return Kept(self.cpu - earlier.cpu, self.wal - earlier.wal, self.tables - earlier.tables)


def kept(connection: psycopg.Connection[Any]) -> Kept:
    """Read it, after a checkpoint: what is yet to be written was caused by what was measured.

    Args:
        connection: in autocommit, of a role that may write a checkpoint.

    Raises:
        ElsewhereError: the server is no process of this machine.
    """
    connection.execute("CHECKPOINT")
    server = listener(connection.info.port, "postgres")
    wal, tables = connection.execute(_BYTES).fetchone() or (0, 0)
    return Kept(cpu_seconds(server), float(wal), float(tables))
