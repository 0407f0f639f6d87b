"""Checkpoints: made by one member at a time, published, and compared with what stands there."""

import json
from pathlib import Path

import psycopg

from ledger.sealed_rows import adopt
from schemas.checkpoint import EVENT_TYPE
from tests.inputs.callbacks import in_run
from tests.observers.topics import TopicRecord
from tests.processes import room
from tests.processes.consuming import Consuming
from tests.waiting import eventually

OFTEN = "0.2"
FEW, MANY = 20, 70


def checkpoints(consuming: Consuming) -> list[TopicRecord]:
    """Those on the receipts topic, in their order."""
    kind = EVENT_TYPE.encode()
    return [event for event in consuming.events() if event.headers["ce_type"] == kind]


def covered(consuming: Consuming) -> int:
    """How many receipts the published checkpoints cover."""
    return sum(json.loads(event.value)["records"] for event in checkpoints(consuming))


def kept(consuming: Consuming, directory: Path) -> str:
    """A file with what an auditor has kept."""
    file = directory / "checkpoints.jsonl"
    file.write_bytes(b"\n".join(event.value for event in checkpoints(consuming)))
    return str(file)


def changed(url: str, *statements: str) -> None:
    """Do what no trigger keeps a superuser from."""
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in statements:
            connection.execute(statement.encode())


def verify(consuming: Consuming, *arguments: str) -> tuple[int, str, str]:
    """Run `billing verify`: its exit code, what it printed, and what it said beside."""
    environment = consuming.environment()
    done = room.run(environment, "verify", *arguments, room="operator_cli")
    return done.returncode, done.stdout, " ".join((done.stdout + done.stderr).split())


def test_everything_is_in_one_chain_that_is_published(consuming: Consuming, tmp_path: Path) -> None:
    for _ in range(2):
        consuming.member(CONSUMER_CHECKPOINT_SECONDS=OFTEN)
    consuming.send(*(in_run(number) for number in range(FEW)))
    eventually(lambda: covered(consuming) == FEW, "a checkpoint of them")
    consuming.send(*(in_run(number) for number in range(FEW, MANY)))
    eventually(lambda: covered(consuming) == MANY, "a checkpoint of the others")
    found = [json.loads(event.value) for event in checkpoints(consuming)]
    assert [one["number"] for one in found] == list(range(1, len(found) + 1))
    assert [one["previous"] for one in found] == ["0" * 64, *(one["hash"] for one in found[:-1])]

    code, _, said = verify(consuming, "--published", kept(consuming, tmp_path))
    assert code == 0
    assert f"looked at {MANY} receipts" in said
    assert f"compared with {len(found)} published checkpoints, up to {len(found)}" in said


def test_what_a_superuser_changes_is_named_though_he_makes_all_seals_anew(
    consuming: Consuming, tmp_path: Path
) -> None:
    consuming.member(CONSUMER_CHECKPOINT_SECONDS=OFTEN)
    consuming.send(*(in_run(number) for number in range(FEW)))
    eventually(lambda: covered(consuming) == FEW, "a checkpoint of them")
    file = kept(consuming, tmp_path)
    free = "UPDATE billing.charge_receipts SET charged_usd = 0 WHERE run_id = 'run-1'"
    changed(consuming.database_url, free)
    code, printed, _ = verify(consuming, "--json")
    assert code == 1
    rows = json.loads(printed)
    assert {(row["what"], row["kind"], row["run"]) for row in rows} == {
        ("altered", "receipts", "run-1")
    }
    ids = {str(row["id"]) for row in consuming.tables.receipts(run_id="run-1")}
    assert {row["id"] for row in rows} == ids

    changed(consuming.database_url, "TRUNCATE billing.sealed, billing.seals, billing.checkpoints")
    adopt(consuming.database_url, "mallory")
    eventually(lambda: covered(consuming) == 2 * FEW, "a checkpoint of what was changed")
    assert verify(consuming)[0] == 0
    code, _, said = verify(consuming, "--published", file)
    assert code == 1
    assert "checkpoint 1 was published with another hash" in said


def test_what_is_no_checkpoint_is_wrong_use(consuming: Consuming, tmp_path: Path) -> None:
    file = tmp_path / "kept"
    for wrong in ("{", "[1]", '{"number": 1}'):
        file.write_text(f"\n{wrong}\n")
        code, _, said = verify(consuming, "--published", str(file))
        assert code == 2
        assert "line 2 is no checkpoint" in said
    code, _, said = verify(consuming, "--published", str(tmp_path / "none"))
    assert code == 2
    assert "cannot be read" in said


def test_receipts_from_before_seals_are_sealed_by_the_command(consuming: Consuming) -> None:
    consuming.member()
    consuming.send(*(in_run(number) for number in range(FEW)))
    consuming.all_committed()
    changed(consuming.database_url, "DELETE FROM billing.sealed", "DELETE FROM billing.seals")
    assert f"{FEW} receipts are from before there were seals" in verify(consuming)[2]
    assert f"{FEW} receipts sealed" in verify(consuming, "--seal-rest", "--by", "ada")[2]
    assert "before there were seals" not in verify(consuming)[2]
