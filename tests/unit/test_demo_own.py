"""A stack's own addresses, in the shell of a person: known again, and never mistaken for theirs."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo import own
from demo.settings import StackSettings
from demo.signing import KEY
from demo.stack import compose
from demo.state import RunDirectory
from demo.tour import _environment

SETTINGS = sorted(name.upper() for name in StackSettings.model_fields)
OTHERS = ["GATEWAY_URL", "GATEWAY_METRICS_URL", "CONSUMER_METRICS_URL", "LITELLM_MASTER_KEY"]
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
ENVIRONMENTS = st.dictionaries(st.sampled_from(SETTINGS + OTHERS), VALUES)


def composed(path: Path, **given: str) -> dict[str, str]:
    """The environment file of a stack with these settings, as its supervisor writes it."""
    directory = RunDirectory(path)
    directory.create()
    fields = {name.lower(): value for name, value in given.items()}
    stack = compose(StackSettings.model_validate(fields), directory, litellm=False)
    directory.remember(stack.environment[own.MARK])
    directory.write_environment(stack.environment)
    return directory.read_environment()


@given(made=ENVIRONMENTS, before=ENVIRONMENTS, after=ENVIRONMENTS, data=st.data())
@settings(max_examples=50)
def test_what_was_made_goes_and_what_a_person_sets_stays(
    made: dict[str, str], before: dict[str, str], after: dict[str, str], data: st.DataObject
) -> None:
    names = data.draw(st.sets(st.sampled_from(sorted(made)))) if made else set[str]()
    shell = {**before, **made, own.MARK: own.mark(made, names), **after}
    expected = {
        name: value
        for name, value in shell.items()
        if name != own.MARK and not (name in names and value == made[name])
    }
    gone = own.disown(shell)
    assert shell == expected
    assert set(gone) <= names & set(SETTINGS)


@given(made=ENVIRONMENTS)
@settings(max_examples=25)
def test_what_is_remembered_is_known_without_the_mark(made: dict[str, str]) -> None:
    shell = dict(made)
    own.disown(shell, ["", own.mark({"X": "y"}, ["X"]), own.mark(made, made)])
    assert shell == {}


@given(value=VALUES)
@settings(max_examples=25)
def test_a_shell_reads_what_was_written(
    value: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = RunDirectory(tmp_path_factory.mktemp("run"))
    directory.write_environment({"DATABASE_URL": value})
    assert directory.read_environment() == {"DATABASE_URL": value}
    shell = subprocess.run(
        ["bash", "-c", '. "$0"; printf %s "$DATABASE_URL"', directory.environment_file],
        capture_output=True,
        check=True,
        env={"LC_ALL": "C.UTF-8"},
    )
    assert shell.stdout.decode() == value


def test_nothing_of_an_embedded_stack_is_given_to_the_next(tmp_path: Path) -> None:
    shell = composed(tmp_path / "run")
    assert own.disown(shell) == [
        "BILLING_INGEST_TOKEN",
        "DATABASE_URL",
        "KAFKA_BOOTSTRAP_SERVERS",
        "SPEND_GUARD_ADMIN_TOKENS",
        "SPEND_GUARD_TOKENS",
    ]
    assert shell == {}


def test_what_was_given_to_a_stack_is_given_to_the_next(tmp_path: Path) -> None:
    given = {
        "KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9092",
        "DATABASE_URL": "postgresql://me@db.example/billing?sslmode=require&connect_timeout=5",
        "BILLING_INGEST_TOKEN": "t" * 32,
        "SPEND_GUARD_TOKENS": f"{'g' * 32},{'h' * 32}",
        "SPEND_GUARD_ADMIN_TOKENS": "a" * 32,
    }
    shell = composed(tmp_path / "run", GATEWAY_PORT="8080", **given)
    assert shell["GATEWAY_URL"] == "http://127.0.0.1:8080"
    assert own.disown(shell) == []
    assert shell == given


def test_the_mark_stands_in_the_file_and_holds_no_secret(tmp_path: Path) -> None:
    shell = composed(tmp_path / "run")
    assert list(shell)[-1] == own.MARK
    assert shell["BILLING_INGEST_TOKEN"] not in shell[own.MARK]


def test_run_directories_beside_each_other_remember_for_each_other(tmp_path: Path) -> None:
    outer, inner = RunDirectory(tmp_path / "run"), RunDirectory(tmp_path / "run" / "demo")
    for directory in (outer, inner, RunDirectory(tmp_path / "elsewhere")):
        directory.create()
        (directory.path / "state.json").write_text("{}")
        directory.remember(str(directory.path))
    assert set(outer.remembered()) == set(inner.remembered()) == {str(outer.path), str(inner.path)}
    assert [near.path for near in outer.relatives()] == [inner.path]
    assert [near.path for near in inner.relatives()] == [outer.path]


def test_what_is_remembered_has_a_bound(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    for number in [*range(30), 29]:
        directory.remember(f"X:{number}")
    assert directory.remembered()[0] == "X:29"
    assert len(directory.remembered()) == 20


def test_every_place_is_a_setting_and_goes_when_the_demo_stands_apart() -> None:
    assert set(SETTINGS) >= own.PLACES
    hosts = {f"{name}_HOST" for name in ("GATEWAY", "SPEND_GUARD")}
    probed = {f"{name}_METRICS_HOST" for name in ("GATEWAY", "CONSUMER", "SPEND_GUARD")}
    tokens = {"BILLING_INGEST_TOKEN", "SPEND_GUARD_TOKENS", "SPEND_GUARD_ADMIN_TOKENS"}
    assert set(SETTINGS) - own.PLACES == {*hosts, *probed, *tokens, "UV"}
    shell = dict.fromkeys(own.PLACES, "x") | {"BILLING_MARKUP": "2"}
    assert own.stand_apart(shell) == sorted(own.PLACES)
    assert shell == {"BILLING_MARKUP": "2"}


def test_on_a_kafka_that_was_given_the_demo_takes_no_records_of_others() -> None:
    kafka = {"KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9092"}
    assert _environment({}) == {
        "BILLING_FREE_MODELS": "*-free",
        "BILLING_CREDITS": "true",
        "BILLING_UNKNOWN_ACCOUNT": "open",
        "BILLING_ATTRIBUTION_KEYS": KEY,
        "CONSUMER_RUN_GRACE_SECONDS": "1",
    }
    assert _environment(kafka)["CONSUMER_GROUP"] == "demo.billing-consumer"
    prefixed = _environment(kafka | {"BILLING_TOPIC_PREFIX": "x.", "CONSUMER_GROUP": "g"})
    assert (prefixed["BILLING_TOPIC_PREFIX"], prefixed["CONSUMER_GROUP"]) == ("demo.x.", "demo.g")
