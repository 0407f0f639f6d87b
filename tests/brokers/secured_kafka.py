"""Apache Kafka that lets in only who logs in over TLS, and only to what they were granted."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trustme
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
)
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.admin._scram import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tests.brokers.apache_kafka import ApacheKafka
from tests.processes.process import free_port
from tests.waiting import NET_SECONDS, eventually

SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
ITERATIONS = 4096
SECONDS = 30


@dataclass(frozen=True)
class Grant:
    """Operations on one resource, or on all whose name begins with `name`."""

    kind: ResourceType
    name: str
    operations: Sequence[AclOperation]
    prefixed: bool = False

    def rules(self, user: str) -> list[AclBinding]:
        """The access rules that say so."""
        pattern = ResourcePatternType.PREFIXED if self.prefixed else ResourcePatternType.LITERAL
        return [
            AclBinding(
                *(self.kind, self.name, pattern, f"User:{user}", "*", operation),
                AclPermissionType.ALLOW,
            )
            for operation in self.operations
        ]


class SecuredKafka(ApacheKafka):
    """A broker with two doors: `bootstrap` for the tests, who may everything; `secured` for all.

    Args:
        jars: directory of the broker's jars.
        directory: an empty directory for its data, its configuration, its log and certificates.
        heap: the bound of its heap, in Java's notation.
    """

    def __init__(self, jars: Path, directory: Path, heap: str = "512m") -> None:
        super().__init__(jars, directory, heap)
        port = free_port()
        self.secured = f"127.0.0.1:{port}"
        self.authority = directory / "authority.pem"
        self.stranger = directory / "stranger.pem"
        trustme.CA().cert_pem.write_to_path(self.stranger)
        for name, value in self._security(port, directory).items():
            with self._properties.open("a") as properties:
                properties.write(f"{name}={value}\n")

    def _security(self, port: int, directory: Path) -> dict[str, str]:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.authority)
        issued = authority.issue_cert("127.0.0.1")
        # Kafka reads keys in PKCS #8 alone.
        key = load_pem_private_key(issued.private_key_pem.bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        store = directory / "broker.pem"
        store.touch(0o600)
        store.write_bytes(key + b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        plain, controller = self._listeners()
        return {
            "listeners": f"{plain},SECURED://127.0.0.1:{port},{controller}",
            "advertised.listeners": f"{plain},SECURED://127.0.0.1:{port}",
            "listener.security.protocol.map": (
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURED:SASL_SSL"
            ),
            "listener.name.secured.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.secured.scram-sha-512.sasl.jaas.config": SCRAM,
            "listener.name.secured.ssl.keystore.type": "PEM",
            "listener.name.secured.ssl.keystore.location": str(store),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }

    def _listeners(self) -> list[str]:
        lines = self._properties.read_text().splitlines()
        (listeners,) = (line for line in lines if line.startswith("listeners="))
        return listeners.partition("=")[2].split(",")

    def add_user(self, name: str) -> str:
        """Make a user who may log in and do nothing; the password."""
        password = secrets.token_urlsafe(24)
        mechanism = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, ITERATIONS)
        wanted = UserScramCredentialUpsertion(name, mechanism, password.encode())
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for future in admin.alter_user_scram_credentials([wanted]).values():
            future.result(NET_SECONDS)
        # The controller answers before the broker has it.
        eventually(lambda: self._knows(admin, name), f"the broker to know {name}")
        return password

    def _knows(self, admin: AdminClient, user: str) -> bool:
        """Whether the broker would let this user log in."""
        try:
            asked = admin.describe_user_scram_credentials([user])
            assert isinstance(asked, dict)
            asked[user].result(NET_SECONDS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.RESOURCE_NOT_FOUND:
                raise
            return False
        return True

    def grant(self, user: str, *grants: Grant) -> None:
        """Let a user do more."""
        rules = [rule for grant in grants for rule in grant.rules(user)]
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for future in admin.create_acls(rules).values():
            future.result(NET_SECONDS)
        # The controller answers before the broker goes by them.
        eventually(lambda: self._lacks(admin, rules) == [], f"the broker to let {user} do it")

    def _lacks(self, admin: AdminClient, rules: Sequence[AclBinding]) -> list[AclBinding]:
        """Return the rules that the broker does not go by yet."""
        return [rule for rule in rules if not admin.describe_acls(_same(rule)).result(NET_SECONDS)]


def _same(rule: AclBinding) -> AclBindingFilter:
    """Return what finds this rule and no other."""
    return AclBindingFilter(
        *(rule.restype, rule.name, rule.resource_pattern_type, rule.principal, rule.host),
        *(rule.operation, rule.permission_type),
    )
