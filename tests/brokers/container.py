"""Apache Kafka in a container, for machines where a Docker engine answers."""

from testcontainers.core.container import DockerContainer

from tests.brokers.apache_kafka import answers, broker_settings
from tests.brokers.jars import kafka_version
from tests.processes.process import free_port
from tests.waiting import eventually


class DockerKafka:
    """The official image of Apache Kafka, with the same settings as the broker from the jars."""

    def __init__(self) -> None:
        self.version = kafka_version()
        self._container = DockerContainer(f"apache/kafka:{self.version}")
        port = free_port()
        self.bootstrap = f"127.0.0.1:{port}"
        settings = broker_settings(port, 9093, "/tmp/kafka-data")  # noqa: S108 - in the container
        # Inside it must listen on the container's own address; outside it is 127.0.0.1.
        settings["listeners"] = f"PLAINTEXT://0.0.0.0:{port},CONTROLLER://127.0.0.1:9093"
        for key, value in settings.items():
            self._container.with_env(f"KAFKA_{key.upper().replace('.', '_')}", value)
        self._container.with_bind_ports(port, port)

    def start(self) -> None:
        """Start the container and wait until the broker answers."""
        self._container.start()
        eventually(lambda: answers(self.bootstrap), f"Apache Kafka on {self.bootstrap}", 90)

    def remove(self) -> None:
        """Remove the container."""
        self._container.stop()
