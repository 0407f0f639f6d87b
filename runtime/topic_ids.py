"""The ids of topics: they tell a topic from a later one of the same name."""

from collections.abc import Collection
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from runtime.metrics import KAFKA_ERRORS

log = structlog.get_logger("consumer")

_TIMEOUT_SECONDS: Final = 10.0
_NEVER_TOLD: Final = frozenset({
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.UNSUPPORTED_VERSION,
    KafkaError._UNSUPPORTED_FEATURE,  # noqa: SLF001 - librdkafka's own name
    KafkaError._NOT_IMPLEMENTED,  # noqa: SLF001 - the same
})  # fmt: skip


def topic_ids(config: dict[str, Any], topics: Collection[str]) -> dict[str, str]:
    """Return the id of each topic, "" where the broker will never tell it.

    Raises `KafkaException` where the broker did not answer, or has no such topic now.
    """
    if not topics:
        return {}
    admin = AdminClient(config)  # Its answers go with it.
    asked = admin.describe_topics(TopicCollection(sorted(topics)), request_timeout=_TIMEOUT_SECONDS)
    found = {}
    for topic, answer in asked.items():
        try:
            found[topic] = str(answer.result(2 * _TIMEOUT_SECONDS).topic_id)
        except TimeoutError as error:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from error  # noqa: SLF001
        except KafkaException as error:
            if error.args[0].code() not in _NEVER_TOLD:
                raise
            KAFKA_ERRORS.labels("describe_topics").inc()
            log.warning("the topic's id is not known", topic=topic, detail=str(error))
            found[topic] = ""
    return found
