"""The topics as declared in `topics.yaml`."""

from functools import cache
from importlib.resources import files
from typing import Final

import yaml
from pydantic import BaseModel, ConfigDict, Field

MAX_MESSAGE_BYTES: Final = "max.message.bytes"
MIN_IN_SYNC: Final = "min.insync.replicas"


class Topic(BaseModel):
    """One declared topic. `config` holds Kafka's own topic settings, in Kafka's units.

    `min_insync_replicas` is apart: a topic with fewer replicas has to do with less.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")
    key: str
    value: str
    audience: str
    partitions: int = Field(ge=1)
    min_insync_replicas: int = Field(ge=1)
    config: dict[str, str | int]

    @property
    def max_message_bytes(self) -> int:
        """Largest record batch in bytes that the broker takes; Kafka's default is 1,048,588."""
        return int(self.config.get(MAX_MESSAGE_BYTES, 1_048_588))


class Topics(BaseModel):
    """All topics of the stream."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    callbacks: Topic
    dead_letters: Topic
    receipts: Topic
    usage_units: Topic
    credits: Topic

    def all(self) -> tuple[Topic, ...]:
        """Return the topics in the order in which they are declared."""
        return (
            self.callbacks,
            self.dead_letters,
            self.receipts,
            self.usage_units,
            self.credits,
        )


def load_topics(prefix: str = "") -> Topics:
    """Read the declaration; `prefix` goes before every name (several environments, one cluster)."""
    topics = {
        which: topic | {"name": prefix + str(topic["name"])} for which, topic in _declared().items()
    }
    return Topics.model_validate(topics)


@cache
def _declared() -> dict[str, dict[str, object]]:
    read = yaml.safe_load(files("schemas").joinpath("topics.yaml").read_text("utf-8"))
    topics: dict[str, dict[str, object]] = read["topics"]
    return topics
