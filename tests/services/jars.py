"""The broker's jars: fetched once by Maven, kept outside the tree."""

import hashlib
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.services.cache import cached, kept

POM = Path(__file__).parent / "kafka" / "pom.xml"
MAVEN_DEADLINE_SECONDS = 300


class JarsError(RuntimeError):
    """Maven could not bring the jars; the text holds what it said."""


def kafka_version() -> str:
    """The version of Apache Kafka that the pom asks for."""
    found = re.search(r"<kafka\.version>(.+?)</kafka\.version>", POM.read_text())
    if found is None:
        raise JarsError(f"no kafka.version in {POM}")
    return found[1]


def cached_jars() -> Path:
    """Where the jars are or will be: one directory for each content of the pom."""
    return cached(_name())


def _name() -> str:
    return f"kafka-{kafka_version()}-{hashlib.sha256(POM.read_bytes()).hexdigest()[:8]}"


def fetch_jars(say: Callable[[str], None]) -> Path:
    """Give the directory of the jars; the first time, let Maven fill it (about a minute).

    Args:
        say: told what takes time.

    Raises:
        JarsError: Maven failed or took longer than five minutes.
    """

    def fill(directory: Path) -> None:
        say(f"fetching the jars of Apache Kafka {kafka_version()} with Maven into {cached_jars()}")
        _run_maven(directory)

    try:
        return kept(_name(), fill)
    except OSError as refused:
        raise JarsError(f"the jars could not be stored: {refused}") from refused


def _run_maven(directory: Path) -> None:
    command = ["mvn", "--quiet", "--batch-mode", "--strict-checksums", "--file", str(POM)]
    command += ["dependency:copy-dependencies", f"-DoutputDirectory={directory}"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=MAVEN_DEADLINE_SECONDS
        )
    except subprocess.TimeoutExpired as late:
        raise JarsError(f"Maven took longer than {MAVEN_DEADLINE_SECONDS} s") from late
    if done.returncode != 0:
        raise JarsError(f"Maven ended with code {done.returncode}:\n{done.stdout[-2000:]}")
