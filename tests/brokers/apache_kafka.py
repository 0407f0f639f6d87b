"""Apache Kafka itself: one node, KRaft, on loopback. The reference broker."""

import hashlib
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import uuid
from base64 import urlsafe_b64encode
from functools import cache
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.brokers.jars import version_of
from tests.downloads.cache import cached
from tests.processes.process import Server, ServerError, free_port
from tests.processes.restarts import brought_up
from tests.waiting import NET_SECONDS, eventually

JAVA_AT_LEAST = 17
PARTITION = re.compile(r"-\d+$")
LOG4J = Path(__file__).parent / "kafka" / "log4j2.yaml"


def java() -> str | None:
    """The java of JAVA_HOME, else of the PATH, else None."""
    home = os.environ.get("JAVA_HOME")
    if home and (Path(home) / "bin" / "java").is_file():
        return str(Path(home) / "bin" / "java")
    return shutil.which("java")


def java_version() -> int | None:
    """The feature release of that java (17, 21, ...); None where there is none that answers."""
    program = java()
    found = re.search(r'version "(\d+)', _version_of(program)) if program else None
    return int(found[1]) if found else None


@cache
def _version_of(program: str) -> str:
    # Asked by many a test file as it is collected, by every worker.
    said = subprocess.run([program, "-version"], capture_output=True, text=True, check=False)
    return said.stderr + said.stdout


def class_archive(jars: Path) -> Path:
    """Where the broker's classes are kept as this java lays them out, or will be.

    With them a JVM starts in two thirds of the time.
    """
    which = hashlib.sha256(_version_of(java() or "java").encode()).hexdigest()[:8]
    return cached(f"{jars.name}-classes-{which}") / "classes.jsa"


def answers(bootstrap: str) -> bool:
    """Whether a broker describes its cluster within five seconds."""
    quiet = logging.getLogger("tests.broker")
    quiet.setLevel(logging.CRITICAL)
    # Asks again soon where nobody listens yet.
    admin = AdminClient(
        {"bootstrap.servers": bootstrap, "reconnect.backoff.max.ms": 200}, logger=quiet
    )
    try:
        return bool(admin.list_topics(timeout=5).brokers)
    except KafkaException:
        return False


# After a kill the node waits until its own former session has ended.
SHORT_SESSION_MS: Final = 4_000
# On a machine that is busy elsewhere the only node misses its heartbeats, is taken for dead by its
# own controller, and leads no partition for a while. Where nobody kills it, that helps nobody.
LONG_SESSION_MS: Final = 60_000


def broker_settings(
    port: int,
    controller_port: int,
    data: str,
    session_ms: int = LONG_SESSION_MS,
    host: str = "127.0.0.1",
) -> dict[str, str]:
    """The broker's properties: one node in both roles, and no waits that only a cluster needs.

    Args:
        port: where clients connect.
        controller_port: where the controller listens to its only voter.
        data: the log directory.
        session_ms: for how long the controller does without the node's heartbeats.
        host: an address of this machine, for clients.
    """
    return {
        "node.id": "1",
        "process.roles": "broker,controller",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{host}:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{host}:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": data,
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "group.initial.rebalance.delay.ms": "0",
        # Deaths are noticed in the time that the client asks for, not in that of a large cluster.
        "group.min.session.timeout.ms": "1000",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        "broker.session.timeout.ms": str(session_ms),
        "broker.heartbeat.interval.ms": "500",
    }


FAST_START: Final = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
# A virtual machine can pay dearly for each small page, and a JVM takes longer to start.
HUGE_PAGES: Final = ("-XX:+UseTransparentHugePages",) if sys.platform == "linux" else ()
FULL: Final[tuple[str, ...]] = ()


def java_command(
    jars: Path, directory: Path, heap: str, compiler: tuple[str, ...] = FAST_START
) -> list[str]:
    """The beginning of a command that runs a class out of the broker's jars.

    Args:
        jars: directory of the broker's jars.
        directory: takes what the JVM unpacks.
        heap: the bound of its heap, in Java's notation.
        compiler: how the JVM compiles.
    """
    command = [java() or "java", "-cp", f"{jars}/*", f"-Xmx{heap}", *HUGE_PAGES, *compiler]
    command += [f"-Dlog4j2.configurationFile={LOG4J}"]
    archive = class_archive(jars)
    if compiler == FAST_START and archive.exists():
        command += [f"-XX:SharedArchiveFile={archive}"]
    # A killed JVM leaves there the libraries that it had unpacked.
    return [*command, f"-Djava.io.tmpdir={directory}"]


def format_storage(command: list[str], properties: Path) -> None:
    """Prepare the log directories that `properties` name, for a new cluster.

    Args:
        command: from `java_command`.
        properties: the configuration of one node.

    Raises:
        ServerError: the tool failed, with what it said.
    """
    # The tool takes an id that begins with a dash for an option: one in sixty-four would.
    cluster = urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
    command = [*command, "kafka.tools.StorageTool", "format"]
    command += ["--cluster-id", cluster, "--config", str(properties)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=NET_SECONDS)
    if done.returncode != 0:
        raise ServerError(f"the broker's storage was not formatted:\n{done.stdout}{done.stderr}")


def described(data: Path) -> bool:
    """Whether every partition in a log directory has its `partition.metadata`.

    Kafka writes that file a moment after the partition, and takes a partition without one for a
    stray after a crash (KAFKA-16814): it comes back empty, with what it had acknowledged gone.
    Replicas save a cluster from that; nothing saves a single node, or all of them killed at once.
    """
    partitions = [entry for entry in data.iterdir() if PARTITION.search(entry.name)]
    return all((partition / "partition.metadata").exists() for partition in partitions)


class ApacheKafka:
    """One broker that keeps its port and its data over stops, kills and restarts.

    Args:
        jars: directory of the broker's jars.
        directory: an empty directory for its data, its configuration and its log.
        heap: the bound of its heap, in Java's notation.
        compiler: how the JVM compiles; `FAST_START` costs a short run least, `FULL` a long one.
        session_ms: as of `broker_settings`; `SHORT_SESSION_MS` where it is going to be killed.
        host: as of `broker_settings`.
        makes_topics: whether a question about a topic that is not there may make it.
    """

    def __init__(
        self,
        jars: Path,
        directory: Path,
        heap: str = "1g",
        compiler: tuple[str, ...] = FAST_START,
        session_ms: int = LONG_SESSION_MS,
        *,
        host: str = "127.0.0.1",
        makes_topics: bool = False,
    ) -> None:
        self.version = version_of(jars)
        self.port = free_port()
        self.bootstrap = f"{host}:{self.port}"
        self._properties = directory / "server.properties"
        self.data = directory / "data"
        settings = broker_settings(self.port, free_port(), str(self.data), session_ms, host)
        settings["auto.create.topics.enable"] = str(makes_topics).lower()
        self._properties.write_text("".join(f"{k}={v}\n" for k, v in settings.items()))
        self._java = java_command(jars, directory, heap, compiler)
        self._server = Server(
            f"Apache Kafka {self.version}",
            [*self._java, "kafka.Kafka", str(self._properties)],
            directory / "broker.log",
            orphan_signal=signal.SIGKILL,  # a frozen one waits with any other for its release
        )

    def start(self, deadline_seconds: float = 180) -> None:
        """Start the broker (format its storage the first time) and wait until it answers.

        A JVM that ends or is late is begun again, at most twice.

        Raises:
            ServerError: it ended, or did not answer in time; with the end of its log.
        """
        brought_up(self._server.name, lambda: self._start_once(deadline_seconds))

    def _start_once(self, deadline_seconds: float) -> None:
        if not self.data.exists():
            self._format()
        self._server.start()

        def up() -> bool:
            self._server.check()
            return answers(self.bootstrap)

        try:
            eventually(up, f"{self._server.name} on {self.bootstrap}", deadline_seconds)
        except TimeoutError as late:
            self._server.kill()
            raise ServerError(f"{late}; its log ends:\n{self._server.tail()}") from late
        except ServerError:
            self._server.kill()
            raise

    def stop(self) -> None:
        """SIGTERM and wait: the broker writes what it holds."""
        self._server.stop()

    def remove(self) -> None:
        """End it for good: to write down thousands of partitions takes seconds."""
        self._server.kill()

    def kill(self, seconds: float = 20) -> None:
        """SIGKILL: a crash, after every partition is `described`."""
        eventually(self._may_be_killed, "the metadata of every partition", seconds)
        self._server.kill()

    def _may_be_killed(self) -> bool:
        try:
            self._server.check()
        except ServerError:
            return True  # nothing runs that could write it
        return described(self.data)

    def suspend(self) -> None:
        """SIGSTOP: clients see a broker that takes connections and never answers."""
        self._server.suspend()

    def resume(self) -> None:
        """SIGCONT."""
        self._server.resume()

    def restart(self) -> None:
        """Stop in order and start again: same port, same data."""
        self.stop()
        self.start()

    def _format(self) -> None:
        try:
            format_storage(self._java, self._properties)
        except ServerError:
            shutil.rmtree(self.data, ignore_errors=True)
            raise
