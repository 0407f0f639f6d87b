"""Numbers that the pages say are those of the code, the topics, the alerts and the chart."""

import re
import tomllib
from inspect import signature
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from billing_stream_client import Run
from demo import calls
from ledger.migration import migrations
from producer_gateway.connection import _MAX_FIELDS, _MAX_HEAD_BYTES
from producer_gateway.settings import MIN_TOKEN_CHARACTERS
from runtime.environment import variables
from schemas.topics import load_topics
from tests.brokers.apache_kafka import JAVA_AT_LEAST, SHORT_SESSION_MS
from tests.brokers.kafka_node import LAG_MS, LEAST_IN_SYNC
from tests.chaos.fleet import SESSION_TIMEOUT_MS
from tests.chaos.recovery import MARGIN_SECONDS
from tests.conftest import WORKERS_A_CORE
from tests.repository.test_docs import PAGES, ROOT, settings

DAY_MS: Final = 86_400_000
BYTES: Final = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
QUOTED: Final = re.compile(
    r"`((?:BILLING|GATEWAY|CONSUMER)_[A-Z_]+)`(?:,\s| \()"
    r"(\d[\d,]*(?:\.\d+)?)(?: (KiB|MiB|GiB)| s)?\b"
)
TOPICS: Final = load_topics()
CHART: Final[dict[str, Any]] = yaml.safe_load(
    (ROOT / "charts/billing-stream/values.yaml").read_text()
)


def text(page: str) -> str:
    """A page on one line."""
    return " ".join(PAGES[ROOT / page].split())


def default(name: str) -> Any:  # noqa: ANN401 - of any setting
    """The default of a setting, in whichever room it is."""
    for room in settings():
        if field := variables(room).get(name):
            return room.model_fields[field].default
    raise KeyError(name)


def kept(days: Any) -> int:  # noqa: ANN401 - of YAML
    """A retention in days."""
    return int(days) // DAY_MS


PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHON: Final = PROJECT["requires-python"].split(",")[0].removeprefix(">=")
CALLBACKS: Final = kept(TOPICS.callbacks.config["retention.ms"])
DEAD_LETTERS: Final = kept(TOPICS.dead_letters.config["retention.ms"])
RECEIPTS: Final = kept(TOPICS.receipts.config["retention.ms"])
MADE: Final = dict(re.findall(r"\$\$\{(\w+):-(\w+)\}", (ROOT / "Makefile").read_text()))
SESSION: Final = default("CONSUMER_SESSION_TIMEOUT_MS") // 1000
HELD: Final = (
    ("README.md", r"On a machine with Python (\S+), git", PYTHON),
    ("docs/operations.md", r"callbacks topic keeps records \((\d+) days\)", CALLBACKS),
    ("docs/operations.md", r"the topic has forgotten the callback, after (\d+) days", CALLBACKS),
    ("docs/operations.md", r"retention \((\d+) days\) ends", DEAD_LETTERS),
    ("docs/operations.md", r"are on `billing.receipts.v1` for (\d+) days", RECEIPTS),
    ("docs/security.md", r"as the topics keep them \((\d+) and \d+ days\)", CALLBACKS),
    ("docs/security.md", r"as the topics keep them \(\d+ and (\d+) days\)", DEAD_LETTERS),
    ("docs/scaling.md", r"The brokers hold callbacks for (\d+) days", CALLBACKS),
    ("docs/security.md", r"A token has at least (\d+) characters", MIN_TOKEN_CHARACTERS),
    ("docs/operations.md", r"records in a row \((\d+)\)", default("CONSUMER_DEAD_LETTER_RUN")),
    ("docs/operations.md", r"park up to (\d+) more", default("CONSUMER_DEAD_LETTER_RUN") - 1),
    ("docs/operations.md", r"one for each partition \((\d+)\)", TOPICS.callbacks.partitions),
    ("docs/operations.md", r"2.9 MB a second: (\d+) GiB, the default",
     default("GATEWAY_SPOOL_MAX_BYTES") // BYTES["GiB"]),
    ("docs/operations.md", r"the chart's (\d+) GiB twenty-four",
     CHART["gateway"]["spool"]["maxBytes"] // BYTES["GiB"]),
    ("docs/operations.md", r"`terminationGracePeriodSeconds` \((\d+)\)",
     CHART["consumer"]["terminationGracePeriodSeconds"]),
    ("docs/operations.md", r"below the chart's limit of (\d+) GiB",
     int(CHART["consumer"]["resources"]["limits"]["memory"].removesuffix("Gi"))),
    ("docs/kubernetes.md", r"each get a volume of (\d+) GiB",
     int(CHART["gateway"]["spool"]["size"].removesuffix("Gi"))),
    ("docs/kubernetes.md", r"a gateway waits (\d+) seconds before SIGTERM",
     CHART["gateway"]["preStopSleepSeconds"]),
    ("docs/reliability.md", r"\((\d+) by default\), so a consumer that dies", SESSION),
    ("docs/reliability.md", r"the default session timeout of (\d+) seconds", SESSION),
    ("README.md", r"It makes (\d+) calls", len(calls.plan())),
    ("README.md", r"where Java (\d+) and Maven", JAVA_AT_LEAST),
    ("tests/README.md", r"this machine's Java \((\d+) or later\)", JAVA_AT_LEAST),
    ("tests/README.md", r"in (\d+) processes for each core", WORKERS_A_CORE),
    ("docs/operations.md", r"applied: ((?:\d{4}, )*\d{4})", ", ".join(migrations())),
    ("docs/operations.md", r"a head of over (\d+) KiB", _MAX_HEAD_BYTES // BYTES["KiB"]),
    ("docs/operations.md", r"a head of over \d+ KiB or (\d+) fields", _MAX_FIELDS),
    ("docs/kubernetes.md", r"`migrations.activeDeadlineSeconds` for it, (\d+) seconds",
     CHART["migrations"]["activeDeadlineSeconds"]),
    ("docs/executors.md", r"`patience_seconds` \| (\d+): how long",
     int(signature(Run).parameters["patience_seconds"].default)),
    ("docs/reliability.md", r"`min.insync.replicas` (\d+), as", LEAST_IN_SYNC),
    ("docs/reliability.md", r"silent for (\d+) seconds counts as dead", SHORT_SESSION_MS // 1000),
    ("docs/reliability.md", r"lags for (\d+) seconds leaves the in-sync", LAG_MS // 1000),
    ("docs/reliability.md", r"session timeout is (\d+) seconds \(", SESSION_TIMEOUT_MS // 1000),
    ("docs/reliability.md", r"above that time plus (\d+) seconds", int(MARGIN_SECONDS)),
    ("docs/reliability.md", r"`make chaos` uses (\d+)", MADE["CHAOS_FAULTS"]),
    ("docs/reliability.md", r"`FUZZ_SECONDS` \(([\d,]+)\)", MADE["FUZZ_SECONDS"]),
    ("docs/reliability.md", r"sooner than the (\d+) seconds of", SESSION),
)  # fmt: skip


@pytest.mark.parametrize(("page", "sentence", "figure"), HELD, ids=lambda part: str(part)[:60])
def test_a_page_says_what_is_so(page: str, sentence: str, figure: int | str) -> None:
    said = re.findall(sentence, text(page))
    assert said, "no such sentence: say the new one here, with where its number comes from"
    assert {re.sub(r"(?<=\d),(?=\d)", "", one) for one in said} == {str(figure)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_default_beside_its_setting_is_the_default(page: Path) -> None:
    if "decisions" in page.parts or page.name == "CHANGELOG.md":
        return  # they tell what was so
    for name, number, unit in QUOTED.findall(PAGES[page]):
        wanted = float(number.replace(",", "")) * BYTES.get(unit, 1)
        assert float(default(name)) == wanted, f"{name} is not {number} {unit}"


def test_the_alerts_fire_at_what_the_runbook_says() -> None:
    groups = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]
    rules = {rule["alert"]: rule for group in groups for rule in group["rules"]}
    [late] = re.findall(r"over ([\d,]+) records wait", text("docs/operations.md"))
    assert rules["BillingConsumerLate"]["expr"].endswith(f"> {late.replace(',', '')}")
    [full] = re.findall(r"the spool is over (\d+) % of", text("docs/operations.md"))
    assert f"> 0.{full.rstrip('0')}" in rules["BillingGatewaySpoolFills"]["expr"]
