"""The archive of the broker's classes: made once, by a broker that starts and stops."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.brokers.apache_kafka import FAST_START, ApacheKafka, class_archive
from tests.downloads.cache import kept
from tests.processes.process import ServerError


def keep_classes(jars: Path, say: Callable[[str], None]) -> None:
    """Make the archive, unless there is one. Without it a broker starts all the same.

    Args:
        jars: directory of the broker's jars.
        say: told what takes time, and why there is none.
    """
    archive = class_archive(jars)

    def fill(directory: Path) -> None:
        say(f"keeping the classes of Apache Kafka in {archive.parent}")
        written = f"-XX:ArchiveClassesAtExit={directory / archive.name}"
        with tempfile.TemporaryDirectory(prefix="billing-stream-classes-") as data:
            broker = ApacheKafka(jars, Path(data), compiler=(*FAST_START, written))
            broker.start()
            broker.stop()

    try:
        kept(archive.parent.name, fill)
    except (ServerError, OSError) as failed:
        say(f"a broker will start without an archive of its classes: {failed}")
