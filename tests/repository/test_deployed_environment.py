"""Every variable that image, compose file and chart set is one that the process reads."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import AliasChoices
from pydantic_settings import BaseSettings

import consumer.settings
import operator_cli.settings
import producer_gateway.settings
import reconciler.settings
import spend_guard.settings
from tests.kubernetes.chart import EVERYTHING, environment

ROOT = Path(__file__).parents[2]
FOREIGN = {
    *("A_TOKEN", "LOG_LEVEL"),  # the chart's extraEnv, as the tests fill it
    *("PGSSLMODE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY"),  # libpq's own
}


def names(settings: type[BaseSettings]) -> set[str]:
    """The environment variables that the settings are read from."""
    found: set[str] = set()
    for field, info in settings.model_fields.items():
        alias = info.validation_alias
        if isinstance(alias, AliasChoices):
            found.update(str(choice).upper() for choice in alias.choices)
        else:
            found.add(str(alias or field).upper())
    return found


GATEWAY = names(producer_gateway.settings.Settings)
CONSUMER = names(consumer.settings.Settings)
BY_HAND = names(operator_cli.settings.Settings)
RECONCILER = names(reconciler.settings.Settings)
SPEND_GUARD = names(spend_guard.settings.Settings)
ROOMS = [
    ("gateway", GATEWAY),
    ("consumer", CONSUMER),
    ("reconciler", RECONCILER),
    ("topics", BY_HAND),
    ("migrate", BY_HAND),
]


@pytest.mark.parametrize(("component", "read"), [*ROOMS, ("spend-guard", SPEND_GUARD)])
def test_the_chart_sets_what_the_room_reads(component: str, read: set[str]) -> None:
    assert set(environment(component, EVERYTHING)) - FOREIGN <= read


@pytest.mark.parametrize(("service", "read"), ROOMS)
def test_the_compose_file_sets_what_the_room_reads(service: str, read: set[str]) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert set(compose["services"][service]["environment"]) <= read


def test_the_image_sets_what_the_rooms_read() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    ours = set(
        re.findall(
            r"\b((?:GATEWAY|CONSUMER|RECONCILER|SPEND_GUARD|BILLING|KAFKA)_[A-Z_]+)=", dockerfile
        )
    )
    assert ours == {
        *("GATEWAY_HOST", "GATEWAY_METRICS_HOST"),
        *("CONSUMER_METRICS_HOST", "RECONCILER_METRICS_HOST"),
        *("SPEND_GUARD_HOST", "SPEND_GUARD_METRICS_HOST"),
    }
    assert ours <= GATEWAY | CONSUMER | RECONCILER | SPEND_GUARD


def test_the_ports_are_the_rooms_defaults() -> None:
    # Image, compose file and probes name the numbers; the processes have them as defaults.
    gateway = producer_gateway.settings.Settings.model_fields
    ports = [gateway["port"].default, gateway["metrics_port"].default]
    ports.append(consumer.settings.Settings.model_fields["consumer_metrics_port"].default)
    ports.append(reconciler.settings.Settings.model_fields["reconciler_metrics_port"].default)
    guard = spend_guard.settings.Settings.model_fields
    ports += [guard["spend_guard_port"].default, guard["spend_guard_metrics_port"].default]
    expose = re.search(r"^EXPOSE (8.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert expose is not None
    assert expose[1] == " ".join(map(str, ports))


def test_values_of_the_chart_are_the_defaults_of_the_rooms() -> None:
    values = yaml.safe_load((ROOT / "charts" / "billing-stream" / "values.yaml").read_text())
    gateway = producer_gateway.settings.Settings.model_fields
    assert values["gateway"]["content"] == gateway["content"].default
    assert values["gateway"]["maxBodyBytes"] == gateway["max_body_bytes"].default
    room = consumer.settings.Settings.model_fields
    assert values["consumer"]["group"] == room["consumer_group"].default
    assert values["billing"]["markup"] == str(room["billing_markup"].default)
    assert values["billing"]["internalAccount"] == room["billing_internal_account"].default
    assert values["billing"]["unattributedAccount"] == room["billing_unattributed_account"].default
    assert values["billing"]["unknownAccount"] == room["billing_unknown_account"].default


def test_pods_outlive_the_shutdown_of_the_gateway() -> None:
    values = yaml.safe_load((ROOT / "charts" / "billing-stream" / "values.yaml").read_text())
    shutdown = producer_gateway.settings.Settings.model_fields["shutdown_timeout_s"].default
    delivery = producer_gateway.settings.Settings.model_fields["delivery_timeout_ms"].default / 1000
    grace = values["gateway"]["terminationGracePeriodSeconds"]
    assert values["gateway"]["preStopSleepSeconds"] + shutdown + delivery < grace
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    stop = int(compose["services"]["gateway"]["stop_grace_period"].removesuffix("s"))
    assert shutdown + delivery < stop
