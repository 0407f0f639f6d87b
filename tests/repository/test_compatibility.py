"""Programs that were written for the last release go on: nothing they rely on has changed.

`released/<version>/` holds what each release promised. Where a change is meant to break that, the
topic gets a new version, as docs/subscribers.md says.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.topics import load_topics
from tests.repository.compatibility import Comparison, Schema
from tests.repository.test_release import RELEASE

ROOT = Path(__file__).parents[2]
RELEASED = Path(__file__).parent / "released"
NOW = ROOT / "schemas"
RELEASES = sorted(path.name for path in RELEASED.iterdir())
GROWS = (".charge_reason",)
"""New values of these are announced and break nobody, says docs/subscribers.md."""
OBJECT: Schema = {
    "type": "object",
    "properties": {"a": {"type": "string"}, "b": {"anyOf": [{"type": "integer"}]}},
    "required": ["a"],
}

each_release = pytest.mark.parametrize("release", RELEASES)


def read(path: Path) -> Any:  # noqa: ANN401 - JSON
    """A file of JSON or YAML."""
    return yaml.safe_load(path.read_text("utf-8"))


def test_what_the_last_release_promised_is_kept() -> None:
    newest, _ = RELEASE.findall((ROOT / "CHANGELOG.md").read_text("utf-8"))[0]
    assert RELEASES[-1] == newest, "copy what schemas/ promises, as CONTRIBUTING.md says"


@each_release
def test_whoever_reads_receipts_by_a_released_schema_reads_those_of_now(release: str) -> None:
    old = read(RELEASED / release / "receipt.schema.json")
    new = read(NOW / "json" / "receipt.schema.json")
    assert Comparison(new, old, GROWS).breaks() == []


@each_release
def test_usage_units_by_a_released_schema_are_taken(release: str) -> None:
    old = read(RELEASED / release / "usage-unit.schema.json")
    new = read(NOW / "json" / "usage-unit.schema.json")
    found = Comparison(old, new).breaks()
    # A new field that may be left out is no break for who writes.
    optional = {f".{name}: is gone" for name in set(new["properties"]) - set(new["required"])}
    assert set(found) - optional == set()


@each_release
def test_the_headers_of_receipts_are_still_there(release: str) -> None:
    old = read(RELEASED / release / "receipt-headers.json")
    new = read(NOW / "examples" / "receipt-headers.json")
    assert set(old) <= set(new)
    fixed = ("ce_type", "ce_specversion", "content-type")
    assert [old[name] for name in fixed] == [new[name] for name in fixed]


@each_release
def test_topics_keep_their_names_their_records_and_their_partitions(release: str) -> None:
    new = dict(load_topics())
    for which, old in read(RELEASED / release / "topics.yaml")["topics"].items():
        assert new[which].name == old["name"]
        # A run would move to another partition.
        assert new[which].partitions == old["partitions"]
        for setting in ("retention.ms", "max.message.bytes"):
            if setting in old["config"]:
                assert int(new[which].config[setting]) >= int(old["config"][setting])
        assert new[which].config["cleanup.policy"] == old["config"]["cleanup.policy"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"properties": {"a": {"type": "string"}}}, [".b: is gone"]),
        ({"properties": OBJECT["properties"] | {"c": {"type": "null"}}}, []),
        ({"required": []}, [".a: may be missing now"]),
        ({"properties": OBJECT["properties"] | {"a": {"type": "integer"}}}, [".a: integer"]),
        (
            {"properties": OBJECT["properties"] | {"a": {"anyOf": [{"type": "null"}]}}},
            [".a: null where string was"],
        ),
        (
            {"properties": OBJECT["properties"] | {"b": {"type": "number"}}},
            [".b: number where integer was"],
        ),
    ],
    ids=str,
)
def test_a_change_that_breaks_somebody_is_found(change: Schema, said: list[str]) -> None:
    found = Comparison(OBJECT | change, OBJECT).breaks()
    assert len(found) == len(said)
    assert all(one.startswith(begins) for one, begins in zip(found, said, strict=True))


@pytest.mark.parametrize(
    ("writes", "reads", "fits"),
    [
        ({"type": "integer"}, {"type": "number"}, True),
        ({"type": "string", "maxLength": 5}, {"type": "string", "maxLength": 4}, False),
        ({"type": "string", "maxLength": 4}, {"type": "string", "maxLength": 5}, True),
        ({"type": "string"}, {"type": "string", "pattern": "^x"}, False),
        ({"type": "string", "enum": ["a"]}, {"type": "string", "enum": ["a", "b"]}, True),
        ({"type": "string", "enum": ["a", "c"]}, {"type": "string", "enum": ["a", "b"]}, False),
        ({"type": "string"}, {"type": "string", "enum": ["a"]}, False),
        (
            {"type": "array", "items": {"type": "null"}},
            {"type": "array", "items": {"type": "string"}},
            False,
        ),
    ],
    ids=str,
)
def test_what_one_writes_fits_another_or_not(writes: Schema, reads: Schema, *, fits: bool) -> None:
    assert (Comparison(writes, reads).breaks() == []) == fits


def test_a_list_that_may_grow_may_grow() -> None:
    old: Schema = {"type": "object", "properties": {"a": {"type": "string", "enum": ["x"]}}}
    new: Schema = {"type": "object", "properties": {"a": {"type": "string", "enum": ["x", "y"]}}}
    assert Comparison(new, old).breaks() == [".a: y was no value of it"]
    assert Comparison(new, old, [".a"]).breaks() == []
