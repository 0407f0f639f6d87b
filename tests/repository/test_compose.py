"""The compose file: valid, on loopback only, and of one mind with the rooms and with deploy/."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.waiting import NET_SECONDS

ROOT = Path(__file__).parents[2]
ROOMS = ("gateway", "consumer")
JOBS = ("topics", "migrate")
OPTIONAL = ("reconciler", "spend-guard")

Service = dict[str, Any]


@pytest.fixture(scope="module")
def services() -> dict[str, Service]:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    found: dict[str, Service] = compose["services"]
    return found


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A tool of this environment, from the project's root."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=NET_SECONDS,
        check=False,
    )


def test_the_file_follows_the_compose_specification() -> None:
    done = run("check_jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_yaml_is_clean() -> None:
    done = run("yamllint", "--strict", "docker-compose.yml", "charts", "deploy", ".yamllint")
    assert done.returncode == 0, done.stdout + done.stderr


def test_ports_are_on_loopback_and_used_once(services: dict[str, Service]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    found = [re.fullmatch(r"127\.0\.0\.1:\$\{(PORT_[A-Z_]+):-(\d+)\}:\d+", port) for port in ports]
    chosen = [match.groups() for match in found if match]
    assert len(chosen) == len(ports)
    for each in zip(*chosen, strict=True):
        assert len(set(each)) == len(each)
    page = (ROOT / "docs" / "docker.md").read_text()
    assert all(f"`{name}`" in page and port in page for name, port in chosen)


def test_a_plain_up_starts_the_stream_and_nothing_else(services: dict[str, Service]) -> None:
    plain = {name for name, service in services.items() if not service.get("profiles")}
    assert plain == {"kafka", "postgres", *JOBS, *ROOMS}
    profiles = {name: s["profiles"] for name, s in services.items() if s.get("profiles")}
    assert profiles == {
        "litellm": ["litellm"],
        "reconciler": ["reconciler"],
        "spend-guard": ["spend-guard"],
        "prometheus": ["observability"],
        "grafana": ["observability"],
    }


def test_rooms_wait_for_their_jobs(services: dict[str, Service]) -> None:
    done = {"condition": "service_completed_successfully"}
    assert services["gateway"]["depends_on"] == {"topics": done}
    assert services["consumer"]["depends_on"] == {"topics": done, "migrate": done}
    healthy = {"condition": "service_healthy"}
    assert services["reconciler"]["depends_on"] == {"migrate": done, "gateway": healthy}
    assert services["spend-guard"]["depends_on"] == {"migrate": done}
    assert [services[job]["restart"] for job in JOBS] == ["no", "no"]
    for job, waits_for in (("topics", "kafka"), ("migrate", "postgres")):
        assert services[job]["depends_on"] == {waits_for: {"condition": "service_healthy"}}
        assert "healthcheck" in services[waits_for]


def test_every_room_is_the_one_image_locked_down(services: dict[str, Service]) -> None:
    for name in (*ROOMS, *OPTIONAL, *JOBS):
        service = services[name]
        assert service["build"] == {"context": ".", "target": "rooms"}, name
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_commands_are_the_rooms_own(services: dict[str, Service]) -> None:
    assert {name: services[name]["command"] for name in (*ROOMS, *OPTIONAL, *JOBS)} == {
        "reconciler": ["reconciler", "run"],
        "spend-guard": ["spend_guard", "run"],
        "gateway": ["producer_gateway", "run"],
        "consumer": ["consumer", "run"],
        "topics": ["consumer", "topics", "--apply"],
        "migrate": ["consumer", "migrate"],
    }


def test_health_is_readiness_on_the_metrics_port(services: dict[str, Service]) -> None:
    ports = {"gateway": 9090, "consumer": 9091, "reconciler": 9095, "spend-guard": 9096}
    for room, port in ports.items():
        assert f"http://127.0.0.1:{port}/readyz" in services[room]["healthcheck"]["test"][-1]
        assert any(one.endswith(f":-{port}}}:{port}") for one in services[room]["ports"])


def test_the_ingest_token_has_no_default(services: dict[str, Service]) -> None:
    token = services["gateway"]["environment"]["BILLING_INGEST_TOKEN"]
    assert token.startswith("${BILLING_INGEST_TOKEN:?")
    assert "32 characters" in token
    assert "BILLING_INGEST_TOKEN" not in services["consumer"]["environment"]


def test_settings_without_a_value_stay_unset(services: dict[str, Service]) -> None:
    # An empty text is not the same as no text: BILLING_MARKUP="" is no number.
    for room in (*ROOMS, *OPTIONAL):
        for name, value in services[room]["environment"].items():
            assert value != "", name
            assert value is None or ":-}" not in value, name


def test_kafka_makes_no_topic_by_accident_and_needs_no_second_broker(
    services: dict[str, Service],
) -> None:
    kafka = services["kafka"]["environment"]
    assert kafka["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    replicated = {k: v for k, v in kafka.items() if k.endswith(("_REPLICATION_FACTOR", "_MIN_ISR"))}
    assert set(replicated.values()) == {"1"}
    assert len(replicated) == 5
    inside = services["gateway"]["environment"]["KAFKA_BOOTSTRAP_SERVERS"]
    assert f"INTERNAL://{inside}" in kafka["KAFKA_ADVERTISED_LISTENERS"].split(",")
    # What clients are told is where they are let in.
    (port,) = services["kafka"]["ports"]
    host = port.removesuffix(":9092")
    assert f"HOST://{host}" in kafka["KAFKA_ADVERTISED_LISTENERS"].split(",")


def test_everything_mounted_and_read_is_in_the_project(services: dict[str, Service]) -> None:
    named = set(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["volumes"])
    for name, service in services.items():
        sources = [volume.rsplit(":", 2) for volume in service.get("volumes", [])]
        for source in [parts[0] for parts in sources] + service.get("env_file", []):
            default = re.sub(r"^\$\{\w+:-(.+)\}$", r"\1", source)
            assert default in named or (ROOT / default).exists(), f"{name}: {source}"


def test_the_spool_outlives_the_container_and_belongs_to_its_user(
    services: dict[str, Service],
) -> None:
    directory = services["gateway"]["environment"]["GATEWAY_SPOOL_DIR"]
    assert services["gateway"]["volumes"] == [f"spool:{directory}"]
    assert "spool" in yaml.safe_load((ROOT / "docker-compose.yml").read_text())["volumes"]
    dockerfile = (ROOT / "Dockerfile").read_text()
    user, group = re.findall(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE)[-1]
    # Docker gives a new volume the owner of the directory in the image.
    made = f"install --directory --owner={user} --group={group} --mode=0700 {directory}\n"
    assert made in dockerfile[: dockerfile.rindex("\nUSER")]


def test_images_are_pinned_to_a_version(services: dict[str, Service]) -> None:
    for name, service in services.items():
        assert re.search(r":(v?\d[\w.-]*|local)$", service["image"]), name


def test_kafka_is_the_version_of_the_tests(services: dict[str, Service]) -> None:
    pom = (ROOT / "tests" / "brokers" / "kafka" / "pom.xml").read_text()
    tested = re.search(r"<kafka\.version>(.+?)</kafka\.version>", pom)
    assert tested is not None
    assert services["kafka"]["image"] == f"apache/kafka:{tested[1]}"


def test_litellm_posts_to_the_gateway_with_its_token(services: dict[str, Service]) -> None:
    env = services["litellm"]["environment"]
    assert env["BILLING_CALLBACK_URL"] == "http://gateway:8080/v1/callbacks/litellm"
    assert env["BILLING_CALLBACK_AUTHORIZATION"] == "Bearer ${BILLING_INGEST_TOKEN}"
    config = (ROOT / "deploy" / "litellm" / "config.yaml").read_text()
    used = set(re.findall(r"os\.environ/(\w+)", config))
    assert used <= set(env), "the sample reads a variable that the compose file does not set"


def test_prometheus_scrapes_the_ports_of_the_rooms() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    targets = [
        target
        for job in config["scrape_configs"]
        for static in job.get("static_configs", ())
        for target in static["targets"]
    ]
    assert targets == ["gateway:9090", "consumer:9091"]
    found = [job["dns_sd_configs"] for job in config["scrape_configs"] if "dns_sd_configs" in job]
    assert found == [
        [{"names": ["reconciler"], "type": "A", "port": 9095}],
        [{"names": ["spend-guard"], "type": "A", "port": 9096}],
    ]
