"""The broker's jars: fetched once by Maven, kept outside the tree."""

import hashlib
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.downloads.cache import cached, kept

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


def cached_jars(version: str | None = None) -> Path:
    """Where the jars are or will be: one directory for each content of the pom and version."""
    return cached(_name(version or kafka_version()))


def _name(version: str) -> str:
    return f"kafka-{version}-{digest(POM)}"


def digest(pom: Path) -> str:
    """Eight digits that are others for another content of a pom."""
    return hashlib.sha256(pom.read_bytes()).hexdigest()[:8]


def version_of(jars: Path) -> str:
    """The version of the broker whose jars these are."""
    found = next(jars.glob("kafka-clients-*.jar"), None)
    if found is None:
        raise JarsError(f"there is no broker in {jars}")
    return found.stem.removeprefix("kafka-clients-")


def fetch_jars(say: Callable[[str], None], version: str | None = None) -> Path:
    """Give the directory of the jars; the first time, let Maven fill it (about a minute).

    Args:
        say: told what takes time.
        version: of Apache Kafka; default: the one that the pom asks for.

    Raises:
        JarsError: Maven failed or took longer than five minutes.
    """
    wanted = version or kafka_version()
    return fetch(POM, _name(wanted), f"Apache Kafka {wanted}", say, f"-Dkafka.version={wanted}")


def fetch(pom: Path, name: str, what: str, say: Callable[[str], None], *options: str) -> Path:
    """Give a directory with the jars that a pom asks for; the first time, let Maven fill it.

    Args:
        pom: names them.
        name: of the directory in the cache; another one for another content of the pom.
        what: for people.
        say: told what takes time.
        options: for Maven.

    Raises:
        JarsError: Maven failed or took longer than five minutes.
    """

    def fill(directory: Path) -> None:
        say(f"fetching the jars of {what} with Maven into {cached(name)}")
        _run_maven(pom, directory, options)

    try:
        return kept(name, fill)
    except OSError as refused:
        raise JarsError(f"the jars could not be stored: {refused}") from refused


def _run_maven(pom: Path, directory: Path, options: Sequence[str]) -> None:
    command = ["mvn", "--quiet", "--batch-mode", "--strict-checksums", "--file", str(pom)]
    command += options
    command += ["dependency:copy-dependencies", f"-DoutputDirectory={directory}"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=MAVEN_DEADLINE_SECONDS
        )
    except subprocess.TimeoutExpired as late:
        raise JarsError(f"Maven took longer than {MAVEN_DEADLINE_SECONDS} s") from late
    if done.returncode != 0:
        raise JarsError(f"Maven ended with code {done.returncode}:\n{done.stdout[-2000:]}")
