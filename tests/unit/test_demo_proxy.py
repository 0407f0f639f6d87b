"""The demo's LiteLLM configuration is the sample that users copy, plus models."""

from pathlib import Path

import yaml

from demo.loopback import Ports
from demo.proxy import PLUGIN, SAMPLE, Proxy, configuration, sample_environment
from demo.settings import StackSettings
from demo.state import RunDirectory

STACK = {
    "GATEWAY_URL": "http://127.0.0.1:8080",
    "BILLING_INGEST_TOKEN": "t" * 32,
    "SPEND_GUARD_URL": "http://127.0.0.1:8081",
    "SPEND_GUARD_TOKENS": f"{'g' * 32}, {'h' * 32}",
    "SPEND_GUARD_ADMIN_TOKENS": "a" * 32,
}


def test_every_sample_setting_reaches_the_demo_unchanged() -> None:
    sample = yaml.safe_load((SAMPLE / "config.yaml").read_text())
    merged = configuration()
    for section, values in sample.items():
        for key, value in values.items():
            assert merged[section][key] == value, f"{section}.{key}"


def test_the_sample_rides_out_four_minutes_within_the_workers_bound() -> None:
    callback = configuration()["callback_settings"]["billing_stream"]
    pauses = sum(callback["retry_delay"] * 2**n for n in range(callback["max_retries"]))
    posts = (callback["max_retries"] + 1) * callback["timeout"]
    assert pauses >= 240
    bound = float(sample_environment()["LOGGING_WORKER_MAX_TIME_PER_COROUTINE"])
    assert bound > pauses + posts


def test_the_sample_names_the_callback_where_failures_are_reported_too() -> None:
    settings = configuration()["litellm_settings"]
    assert settings["callbacks"] == ["billing_stream"]
    assert settings["global_disable_no_log_param"] is True


def test_every_variable_of_the_sample_configuration_is_in_the_sample_environment() -> None:
    text = (SAMPLE / "config.yaml").read_text()
    named = {
        word.removeprefix("os.environ/") for word in text.split() if word.startswith("os.environ/")
    }
    assert named
    assert named <= set(sample_environment())


def test_the_proxy_gets_no_database_and_the_stacks_token(
    tmp_path: Path,
) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.create()
    proxy = Proxy(StackSettings(uv=Path("/bin/true")), directory, STACK, Ports())
    install, upstream, spend_log, litellm = proxy.services(
        {"DATABASE_URL": "postgresql://", "HOME": "/"}
    )

    assert "DATABASE_URL" not in litellm.environment
    assert litellm.environment["BILLING_CALLBACK_AUTHORIZATION"] == f"Bearer {'t' * 32}"
    assert litellm.environment["BILLING_CALLBACK_URL"].startswith("http://127.0.0.1:8080/v1/")
    assert litellm.environment["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"
    assert install.name in litellm.needs
    assert proxy.environment()["UPSTREAM_URL"].endswith(upstream.address)
    assert proxy.environment()["SPEND_LOG_URL"].endswith(spend_log.address)
    written = yaml.safe_load((directory.path / "litellm.yaml").read_text())
    # In this order: no call is made unasked; its row is there before its callback can be sent.
    assert written["litellm_settings"]["callbacks"] == [
        "spend_guard.guard",
        "row_writer.writer",
        "billing_stream",
    ]
    assert (directory.path / "row_writer.py").is_file()
    assert (directory.path / "spend_guard.py").read_bytes() == PLUGIN.read_bytes()


def test_the_plugin_asks_the_stacks_guard_with_one_token_and_never_as_its_administrator(
    tmp_path: Path,
) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.create()
    proxy = Proxy(StackSettings(uv=Path("/bin/true")), directory, STACK, Ports())
    *_, litellm = proxy.services({"SPEND_GUARD_FAIL": "closed", "SPEND_GUARD_TOKEN": "of another"})
    assert litellm.environment["SPEND_GUARD_URL"] == STACK["SPEND_GUARD_URL"]
    assert litellm.environment["SPEND_GUARD_TOKEN"] == "g" * 32
    assert litellm.environment["SPEND_GUARD_FAIL"] == "closed"
    assert "SPEND_GUARD_ADMIN_TOKENS" not in litellm.environment
    # A busy machine lets no call pass unasked; who says otherwise is heard.
    assert litellm.environment["SPEND_GUARD_TIMEOUT_MS"] == "30000"
    *_, impatient = proxy.services({"SPEND_GUARD_TIMEOUT_MS": "250"})
    assert impatient.environment["SPEND_GUARD_TIMEOUT_MS"] == "250"
    assert "spend-guard" in litellm.needs
