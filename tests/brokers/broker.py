"""Which broker the tests run against: TEST_KAFKA, else the best one that is here."""

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from tests.brokers.apache_kafka import (
    FAST_START,
    FULL,
    JAVA_AT_LEAST,
    ApacheKafka,
    java_version,
)
from tests.brokers.class_archive import keep_classes
from tests.brokers.container import DockerKafka
from tests.brokers.embedded_kafka import EmbeddedKafka
from tests.brokers.jars import JarsError, cached_jars, fetch_jars, kafka_version
from tests.processes.docker import engine_answers

Kind = Literal["apache", "docker", "embedded", "external"]
BOOTSTRAP = re.compile(r"^[^\s,:]+:\d+(,[^\s,:]+:\d+)*$")


class BrokerError(RuntimeError):
    """No broker as demanded; the text says what to do."""


class Broker(Protocol):
    """What the tests need of a broker."""

    bootstrap: str
    version: str

    def start(self) -> None:
        """Start it and wait until it answers."""

    def remove(self) -> None:
        """End it for good, with all it holds."""


@dataclass(frozen=True)
class BrokerChoice:
    """A kind of broker, and the reason for it in words."""

    kind: Kind
    reason: str
    bootstrap: str = ""
    demanded: bool = False

    @property
    def is_reference(self) -> bool:
        """Whether this is Apache Kafka, started by us."""
        return self.kind in {"apache", "docker"}

    def __str__(self) -> str:
        """One line for people."""
        what = {
            "apache": f"Apache Kafka {kafka_version()} from its jars",
            "docker": f"Apache Kafka {kafka_version()} in a container",
            "embedded": "noida-db, embedded",
            "external": f"the one at {self.bootstrap}",
        }[self.kind]
        return f"{what} ({self.reason})"


class External:
    """A broker that somebody else runs."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.version = "unknown"

    def start(self) -> None:
        """Not ours to start."""

    def remove(self) -> None:
        """Not ours to end."""


def missing_for_apache() -> str:
    """What this machine lacks to run Apache Kafka from its jars; empty when nothing."""
    release = java_version()
    if release is None:
        return "there is no java"
    if release < JAVA_AT_LEAST:
        return f"java is {release}, older than {JAVA_AT_LEAST}"
    if shutil.which("mvn") is None:
        return "there is no mvn"
    return ""


def choose_broker(environment: Mapping[str, str] | None = None) -> BrokerChoice:
    """Decide, without starting anything.

    Args:
        environment: holds TEST_KAFKA (`apache`, `docker`, `embedded` or HOST:PORT) and CI;
            default: that of the process.

    Raises:
        BrokerError: TEST_KAFKA is none of these, or CI is true and it names a broker other than
            `apache` on a machine that can run that.
    """
    environment = os.environ if environment is None else environment
    wanted = environment.get("TEST_KAFKA", "")
    missing = missing_for_apache()
    if environment.get("CI") == "true" and not missing and wanted not in {"", "apache"}:
        raise BrokerError(
            f"TEST_KAFKA={wanted} while CI=true: this machine has java and mvn, so CI demands"
            " Apache Kafka; unset TEST_KAFKA"
        )
    if wanted in {"apache", "docker", "embedded"}:
        return BrokerChoice(_kind(wanted), f"TEST_KAFKA={wanted}", demanded=True)
    if BOOTSTRAP.match(wanted):
        return BrokerChoice("external", "TEST_KAFKA is an address", wanted, demanded=True)
    if wanted:
        raise BrokerError(
            f"TEST_KAFKA={wanted} is none of apache, docker, embedded, HOST:PORT; unset it to"
            " take the best one present"
        )
    if not missing:
        return BrokerChoice("apache", f"java {java_version()} and mvn are here")
    return _without_java(missing)


def prepare_broker(choice: BrokerChoice, say: Callable[[str], None], *, ci: bool) -> BrokerChoice:
    """Bring what the chosen broker needs from outside; it is not started.

    Args:
        choice: from `choose_broker`.
        say: told what takes time and what is taken instead.
        ci: whether a fallback is out of the question.

    Returns:
        The choice that holds: where Maven cannot bring the jars and nobody demanded Apache Kafka,
        the next best one.

    Raises:
        BrokerError: it was demanded, and cannot be brought.
    """
    if choice.kind != "apache":
        return choice
    try:
        keep_classes(fetch_jars(say), say)
    except JarsError as failed:
        if ci or choice.demanded:
            raise BrokerError(f"Apache Kafka is demanded here and cannot run. {failed}") from failed
        say(str(failed))
        return _without_java("Maven could not bring the jars of Apache Kafka")
    return choice


def make_broker(choice: BrokerChoice, directory: Path, *, measured: bool = False) -> Broker:
    """The broker that was chosen and prepared, not yet started; its data go to `directory`.

    One that is measured has all of its compilers, which cost more than a test would gain by them.
    """
    match choice.kind:
        case "apache":
            compiler = FULL if measured else FAST_START
            return ApacheKafka(cached_jars(), directory, compiler=compiler)
        case "docker":
            return DockerKafka()
        case "embedded":
            return EmbeddedKafka(directory)
        case "external":
            return External(choice.bootstrap)


def _without_java(reason: str) -> BrokerChoice:
    if engine_answers():
        return BrokerChoice("docker", f"{reason}; a Docker engine answers")
    return BrokerChoice("embedded", f"{reason}; no Docker engine answers")


def _kind(word: str) -> Kind:
    kinds: dict[str, Kind] = {"apache": "apache", "docker": "docker", "embedded": "embedded"}
    return kinds[word]
