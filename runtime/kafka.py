"""Kafka: how a process reaches it, what its clients have in common, and what they say."""

import logging
from collections.abc import Collection, Mapping
from typing import Any, Final, Literal

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._metadata import TopicMetadata
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from runtime import metrics
from runtime.environment import is_text

log = structlog.get_logger("kafka")

ASK_SECONDS: Final = 3.0
ANSWER_SECONDS: Final = 10.0


class KafkaConnection(BaseSettings):
    """How to reach Kafka; every room that does inherits it."""

    kafka_bootstrap_servers: str = Field(
        alias="KAFKA_BOOTSTRAP_SERVERS",
        min_length=1,
        description="Kafka brokers to connect to first, `host:port`, comma-separated.",
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT",
        alias="KAFKA_SECURITY_PROTOCOL",
        description="Whether connections to the brokers use TLS and SASL.",
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        default=None, alias="KAFKA_SASL_MECHANISM", description="SASL mechanism for the login."
    )
    kafka_sasl_username: str | None = Field(
        default=None, alias="KAFKA_SASL_USERNAME", description="User name for SASL."
    )
    kafka_sasl_password: SecretStr | None = Field(
        default=None, alias="KAFKA_SASL_PASSWORD", description="Password for SASL."
    )
    kafka_ssl_ca_location: str | None = Field(
        default=None,
        alias="KAFKA_SSL_CA_LOCATION",
        description="File with the certificate authorities to trust. Empty: the system's.",
    )
    kafka_ssl_certificate_location: str | None = Field(
        default=None,
        alias="KAFKA_SSL_CERTIFICATE_LOCATION",
        description="File with the client certificate, for mutual TLS.",
    )
    kafka_ssl_key_location: str | None = Field(
        default=None, alias="KAFKA_SSL_KEY_LOCATION", description="File with the client's key."
    )
    kafka_ssl_key_password: SecretStr | None = Field(
        default=None, alias="KAFKA_SSL_KEY_PASSWORD", description="Password of that key."
    )

    @field_validator("kafka_sasl_password", "kafka_ssl_key_password")
    @classmethod
    def _is_text(cls, value: SecretStr | None) -> SecretStr | None:
        # The client would take the part before a NUL, and fails in a traceback on the others.
        if value is not None and not is_text(value.get_secret_value()):
            raise ValueError("holds a NUL, or bytes that are no UTF-8")
        return value

    def kafka_client(self) -> dict[str, Any]:
        """Return librdkafka's settings for the connection. Holds secrets: never log it."""
        values = {
            "bootstrap.servers": self.kafka_bootstrap_servers,
            "security.protocol": self.kafka_security_protocol,
            "sasl.mechanism": self.kafka_sasl_mechanism,
            "sasl.username": self.kafka_sasl_username,
            "sasl.password": _reveal(self.kafka_sasl_password),
            "ssl.ca.location": self.kafka_ssl_ca_location,
            "ssl.certificate.location": self.kafka_ssl_certificate_location,
            "ssl.key.location": self.kafka_ssl_key_location,
            "ssl.key.password": _reveal(self.kafka_ssl_key_password),
        }
        return {name: value for name, value in values.items() if value is not None}


def _reveal(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


class TopicNames(BaseSettings):
    """Which topics are meant."""

    billing_topic_prefix: str = Field(
        default="",
        alias="BILLING_TOPIC_PREFIX",
        pattern=r"^[a-zA-Z0-9._-]{0,100}$",
        description="Text before every topic's name, for several environments on one cluster.",
    )


class ConsumerGroup(BaseSettings):
    """Which group's offsets say what is charged."""

    consumer_group: str = Field(
        default="billing-consumer",
        alias="CONSUMER_GROUP",
        min_length=1,
        description="Kafka consumer group. Do not change it later: a new group reads the callbacks "
        "topic from its beginning and publishes the events of those receipts again.",
    )


def client_config(connection: KafkaConnection, client_id: str) -> dict[str, Any]:
    """Return what every Kafka client of a process has in common. Holds secrets: never log it."""
    return connection.kafka_client() | {
        "client.id": client_id,
        "logger": logging.getLogger("librdkafka"),
        "reconnect.backoff.ms": 250,
        "reconnect.backoff.max.ms": 2_000,
        "error_cb": note,
    }


def sender_config(connection: KafkaConnection, client_id: str) -> dict[str, Any]:
    """Return the configuration of a producer for the callbacks topic, outside any transaction.

    The partitioner is that of Java clients and of the gateway: ONE_RUN_ONE_PARTITION.
    """
    return client_config(connection, client_id) | {
        "acks": "all",
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "linger.ms": 5,
    }


def note(error: KafkaError) -> None:
    """Count and log what a client reports; a client's `error_cb`."""
    metrics.KAFKA_ERRORS.labels(error.name()).inc()
    log.warning("kafka client", code=error.name(), detail=error.str())


def committed(
    consumer: Consumer,
    places: Collection[tuple[str, int]],
    timeout_seconds: float = ANSWER_SECONDS,
) -> list[TopicPartition]:
    """Return what the group has committed of each topic and partition, below 0 for nothing.

    Waits for transactions that are still open on these offsets. Any thread may ask. Raises
    `KafkaException`.
    """
    if not places:
        return []
    asked = [TopicPartition(*place) for place in sorted(places)]
    answer = consumer.committed(asked, timeout=timeout_seconds)
    for part in answer:
        if part.error is not None:
            raise KafkaException(part.error)
    return answer


class Administrator:
    """An administrator's client that says why a cluster does not answer.

    Args:
        config: of the client.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._said = ""
        self.client = AdminClient(dict(config) | {"error_cb": self._note})

    def topics(self, timeout_seconds: float = ASK_SECONDS) -> dict[str, TopicMetadata]:
        """Return the cluster's topics. Raises `KafkaException` that says why it does not answer."""
        try:
            return self.client.list_topics(timeout=timeout_seconds).topics
        except KafkaException as error:
            self.client.poll(0)
            if not self._said:
                raise
            # A refused login or certificate is no answer for the client, which goes on trying.
            cause = error.args[0]
            raise KafkaException(
                KafkaError(cause.code(), f"{cause.str()}: {self._said}")
            ) from error

    def _note(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - librdkafka's own name
            self._said = error.str()


def reason(error: KafkaException) -> str:
    """Return what Kafka said, as a sentence for an operator."""
    said = error.args[0]
    if said.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - librdkafka's own name
        return "it deleted records, for their age, before they could be read: run the same again"
    return str(said.str())
