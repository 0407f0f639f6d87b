"""The broker's jars: fetched once by Maven, kept outside the tree."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

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
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()[:8]
    return cache / "billing-stream" / f"kafka-{kafka_version()}-{digest}"


def fetch_jars(say: Callable[[str], None]) -> Path:
    """Give the directory of the jars; the first time, let Maven fill it (about a minute).

    The directory appears under its name only when it is complete, so that a run which is cut off
    leaves nothing that looks finished, and two runs at once do not disturb each other.

    Args:
        say: told what takes time.

    Raises:
        JarsError: Maven failed or took longer than five minutes.
    """
    jars = cached_jars()
    if jars.is_dir():
        return jars
    jars.parent.mkdir(parents=True, exist_ok=True)
    with (jars.parent / ".lock").open("w") as lock:
        # Several workers of one run ask at the same moment.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return jars if jars.is_dir() else _fetch(jars, say)


def _fetch(jars: Path, say: Callable[[str], None]) -> Path:
    say(f"fetching the jars of Apache Kafka {kafka_version()} with Maven into {jars}")
    incoming = Path(tempfile.mkdtemp(prefix=f".{jars.name}-", dir=jars.parent))
    command = ["mvn", "--quiet", "--batch-mode", "--strict-checksums", "--file", str(POM)]
    command += ["dependency:copy-dependencies", f"-DoutputDirectory={incoming}"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=MAVEN_DEADLINE_SECONDS
        )
        if done.returncode != 0:
            raise JarsError(f"Maven ended with code {done.returncode}:\n{done.stdout[-2000:]}")
        if not jars.is_dir():
            incoming.rename(jars)
    except subprocess.TimeoutExpired as late:
        raise JarsError(f"Maven took longer than {MAVEN_DEADLINE_SECONDS} s") from late
    except OSError as refused:
        # Another run may have put its own copy in place between the two lines above.
        if not jars.is_dir():
            raise JarsError(f"the jars could not be stored: {refused}") from refused
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return jars
