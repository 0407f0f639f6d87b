"""What all workers of a test run share: started once, when the first asks, ended with the run.

pytest-xdist runs the tests in several processes. The one that began the run starts the servers,
so that they outlive whichever worker asked first; a worker asks by a file and reads the answer.
"""

import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from tests.brokers.broker import BrokerChoice, BrokerError, make_broker, prepare_broker
from tests.databases.database import migrated_template, running_database
from tests.processes.process import ServerError
from tests.session.memory import in_memory
from tests.waiting import NET_SECONDS, eventually

LOOK_SECONDS: Final = 0.05
SHARED: Final = ("kafka", "database", "template")
Serving = Callable[[], AbstractContextManager[str]]
"""Starts something, gives its address, and ends it."""


class SharedError(RuntimeError):
    """What was asked for could not be started; the text says why."""


def ask(directory: Path, name: str) -> str:
    """The address of what is shared under `name`; starts it if nobody has asked before.

    Args:
        directory: of the run, where its keeper looks.
        name: as the keeper knows it.

    Raises:
        SharedError: it cannot be started.
    """
    (directory / f"{name}.wanted").touch()
    address, failed = directory / f"{name}.address", directory / f"{name}.failed"
    eventually(lambda: address.exists() or failed.exists(), f"the shared {name}", NET_SECONDS)
    if failed.exists():
        raise SharedError(failed.read_text())
    return address.read_text()


class Keeper:
    """Starts what is asked for and ends it at `close`.

    Args:
        directory: an empty one that every worker can reach.
        shared: how each thing is started, by its name; what needs another one comes after it.
    """

    def __init__(self, directory: Path, shared: Mapping[str, Serving]) -> None:
        self._directory = directory
        self._kept: list[tuple[threading.Event, threading.Thread]] = []
        for name, serving in shared.items():
            end = threading.Event()
            # The kernel ends a server with the thread that started it: one for each, which stays.
            keeps = threading.Thread(target=self._keep, args=(name, serving, end), name=name)
            self._kept.append((end, keeps))
            keeps.start()

    def close(self) -> None:
        """End everything, the last first."""
        for end, keeps in reversed(self._kept):
            end.set()
            keeps.join(NET_SECONDS)

    def _keep(self, name: str, serving: Serving, end: threading.Event) -> None:
        while not (self._directory / f"{name}.wanted").exists():
            if end.wait(LOOK_SECONDS):
                return
        try:
            with serving() as address:
                self._say(f"{name}.address", address)
                end.wait()
        except (BrokerError, ServerError, SharedError, OSError, TimeoutError) as failed:
            self._say(f"{name}.failed", f"{type(failed).__name__}: {failed}")

    def _say(self, name: str, text: str) -> None:
        """Appears as a whole: whoever sees the file may read it."""
        part = self._directory / f"{name}.part"
        part.write_text(text)
        part.rename(self._directory / name)


class Services:
    """Broker and database of one test run.

    Args:
        directory: of the run.
        choice: which broker.
        ci: whether the rules of CI hold.
        say: told what takes time.
    """

    def __init__(
        self, directory: Path, choice: BrokerChoice, say: Callable[[str], None], *, ci: bool
    ) -> None:
        self.choice = choice
        self.used: list[str] = []
        self._directory, self._say, self._ci = directory, say, ci
        how = (self._kafka, self._database, self._template)
        self._keeper = Keeper(directory, dict(zip(SHARED, how, strict=True)))

    def begin(self) -> None:
        """Start all of it before anybody asks, while the tests are still collected."""
        for name in SHARED:
            (self._directory / f"{name}.wanted").touch()

    def close(self) -> None:
        """End them."""
        self._keeper.close()

    @contextmanager
    def _kafka(self) -> Iterator[str]:
        self.choice = prepare_broker(self.choice, self._say, ci=self._ci)
        with in_memory("kafka") as memory:
            place = Path(tempfile.mkdtemp(dir=memory or self._directory))
            broker = make_broker(self.choice, place)
            broker.start()
            self.used.append(f"broker: {self.choice}, version {broker.version}")
            try:
                yield broker.bootstrap
            finally:
                broker.remove()

    @contextmanager
    def _database(self) -> Iterator[str]:
        with in_memory("database") as memory, running_database(memory) as (url, what):
            self.used.append(what)
            yield url

    @contextmanager
    def _template(self) -> Iterator[str]:
        with migrated_template(ask(self._directory, "database")) as name:
            yield name
