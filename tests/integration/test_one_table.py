"""From two tables of receipts to one: the same is told of all calls, and nobody is held up."""

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from charging.outcomes import Decided
from charging.settlement import Event
from ledger import migration
from ledger.calls import books_of
from ledger.deferrals import Deferrals
from ledger.migration import migrate
from ledger.receipts import ReceiptWriter
from operator_cli.__main__ import app
from schemas.cloud_event import EventRecord
from schemas.receipt import Receipt, to_kafka
from tests.databases.former_member import former_release
from tests.databases.writing import ROLE, outcomes, write_to
from tests.inputs import background, captures
from tests.inputs.callbacks import costing, decided, element, policy
from tests.processes import room

ROOT = Path(__file__).parents[2]
RULES = policy(free=tuple(captures.FREE_MODELS.split(",")))
LATER = ["0011", "0012", "0013", "0014", "0015", "0016", "0017", "0018", "0019"]
ZERO = {"id": "zero", "litellm_call_id": "zero"}
RACED = {"id": "raced", "litellm_call_id": "raced"}
EU = "litellm/eu"
VALUES = [
    *captures.all_elements(),
    element(id="twice", litellm_call_id="double"),
    element(),
    costing("7"),
    costing("8", id="eu"),
    element(**ZERO, response_cost=0),
    element(**RACED, response_cost=0),
    element(**RACED),
    element(id="missing", litellm_call_id="missing", response_cost=None),
    element(id="unusable", litellm_call_id="unusable", response_cost=-1),
    background.create(),
    background.read(),
    background.create(litellm_call_id="waits", id="waits", created_at=1),
]
KEYS = ("double|twice", "call-1|eu")
NAMES = (
    *("call-1", "double", "zero", "raced", "missing", "run-1", "run-bg", "waits", "eu", "7"),
    *KEYS,
)
OF_THE_CLOCK = frozenset({
    *("created_at", "deferred_at", "resolved_at", "detected_at", "written", "deferred", "age"),
})  # fmt: skip


def batch() -> list[Decided]:
    """Calls of every kind, each at its place in the topic."""
    values = [(value, EU if b'"eu"' in value else None) for value in VALUES]
    return [
        decided(value, RULES, offset=100 + at, source=source)
        for at, (value, source) in enumerate(values)
    ]


def race(url: str) -> None:
    """Leave the deferral of a call open that has its receipt, as two members at once do."""
    with psycopg.connect(url) as connection:
        # Nobody may take such a step: it never was closed.
        connection.execute("SET session_replication_role = replica")
        changed = connection.execute(
            "UPDATE billing.deferred_calls SET resolved_at = NULL, resolution = NULL"
            " WHERE call_key = 'raced|raced' AND resolution = 'callback'"
        )
        assert changed.rowcount == 1


def events(url: str, records: Sequence[Decided]) -> dict[str, EventRecord]:
    """The events of receipts that are replayed, by their call keys."""
    with closing(ReceiptWriter(url, ROLE)) as ledger:
        found = ledger.write(records)
    return {each.receipt.call_key: to_kafka(each.receipt) for each in found if each.receipt}


def command(url: str, *arguments: str) -> Any:  # noqa: ANN401 - JSON
    """What a command of `billing` prints as JSON, without what the clock says."""
    environment = {"DATABASE_URL": url, "KAFKA_BOOTSTRAP_SERVERS": ""}
    done = CliRunner().invoke(app, [*arguments, "--json"], env=environment)
    assert done.exit_code == 0, done.output
    return timeless(json.loads(done.stdout))


def timeless(told: Any) -> Any:  # noqa: ANN401 - JSON
    """The same without what differs by the clock alone."""
    if isinstance(told, dict):
        return {name: timeless(value) for name, value in told.items() if name not in OF_THE_CLOCK}
    return [timeless(value) for value in told] if isinstance(told, list) else told


def told(url: str) -> dict[str, Any]:
    """What the commands say of all calls."""
    rows: dict[str, Any] = {
        "report": command(url, "report", "--limit", "1000"),
        "deferred": command(url, "deferred", "list", "--settled", "--waiting", "--limit", "1000"),
    }
    rows["open"] = command(url, "deferred", "list", "--waiting", "--limit", "1000")
    for name in ("deferred", "open"):
        # All of one transaction are equally old.
        rows[name] = sorted(rows[name], key=repr)
    for name in NAMES:
        books = books_of(url, name, "no-group", 1000, 10)
        rows[name] = timeless(
            {
                table: sorted(map(repr, map(timeless, getattr(books, table))))
                for table in ("receipts", "deferrals", "conflicts", "unfinished")
            }
        )
    with closing(ReceiptWriter(url, ROLE)) as ledger:
        rows["gauges"] = ledger.open_deferred()[0], ledger.waiting_responses()[0]
    rows["report"] = {name: sorted(some, key=repr) for name, some in rows["report"].items()}
    return rows


def test_what_is_told_of_a_call_is_the_same_whichever_release_wrote_it(
    former_url: str, database_url: str
) -> None:
    migrate(database_url)
    with former_release():
        said = write_to(former_url, batch())
    assert {"created", "conflict", "deferred", "skipped"} <= {one.split()[0] for one in said}
    assert write_to(database_url, batch()) == said
    for url in (former_url, database_url):
        race(url)
    assert migrate(former_url) == ["0010", *LATER]
    assert told(former_url) == told(database_url)
    assert [row["call_key"] for row in books_of(former_url, "zero", "", 9, 9).deferrals] == [
        "zero|zero"
    ]
    for key in KEYS:
        found = books_of(former_url, key, "no-group", 9, 9).receipts
        assert [row["call_key"] for row in found] == [key]
    # Again, each record by itself: replays, and what contradicts a receipt.
    before = outcomes_and_events(former_url)
    assert before == outcomes_and_events(database_url)
    assert told(former_url) == told(database_url)
    later = [
        decided(element(**ZERO), offset=5_000),
        decided(costing("9"), offset=5_001),
        decided(element(id="another", litellm_call_id="double"), offset=5_002),
        decided(element(id="missing", litellm_call_id="missing"), offset=5_003),
        decided(background.read(), offset=5_004),
    ]
    assert write_to(former_url, later) == write_to(database_url, later)
    assert told(former_url) == told(database_url)


def as_before(receipt: Receipt) -> EventRecord:
    """The event of a receipt without the caller, which the release before did not keep."""
    return to_kafka(
        replace(receipt, team_id=None, team_alias=None, key_alias=None, organization_id=None)
    )


def outcomes_and_events(url: str) -> list[tuple[str, EventRecord | None]]:
    """What becomes of every record when it is read once more, and its event."""
    with closing(ReceiptWriter(url, ROLE)) as ledger:
        found = ledger.write(batch())
    return [
        (said, as_before(each.receipt) if each.receipt else None)
        for said, each in zip(outcomes(found), found, strict=True)
    ]


def test_the_event_of_a_receipt_that_is_replayed_is_the_one_that_was_lost(former_url: str) -> None:
    """Byte for byte, whether its details stand beside it or in the table of the release before."""
    paid = [decided(value, RULES, offset=at) for at, value in enumerate(captures.all_elements())]
    old, new = paid[::2], paid[1::2]
    with former_release(), closing(ReceiptWriter(former_url, ROLE)) as ledger:
        first = {
            one.receipt.call_key: as_before(one.receipt) for one in ledger.write(old) if one.receipt
        }
    migrate(former_url)
    with closing(ReceiptWriter(former_url, ROLE)) as ledger:
        first |= {
            one.receipt.call_key: to_kafka(one.receipt) for one in ledger.write(new) if one.receipt
        }
    assert len(first) > 40
    again = events(former_url, paid)
    assert {key: again[key] for key in first} == first


@pytest.mark.parametrize("last", LATER[-2:])
def test_members_of_the_release_before_go_on_beside_new_ones(former_url: str, last: str) -> None:
    records = [
        decided(element(id=f"{n}", litellm_call_id=f"{n // 4}"), offset=n) for n in range(40)
    ]
    zeros = [
        decided(element(id=f"z{n}", litellm_call_id=f"z{n}", response_cost=0), offset=100 + n)
        for n in range(8)
    ]
    with former_release():
        write_to(former_url, records[:10])
    migrate(former_url, last)
    write_to(former_url, [*records[10:20], *zeros[:2]])
    with former_release():
        # Their own and the others', as after a crash of either.
        said = write_to(former_url, [*records[:30], *zeros[:4]])
        read_back = events(former_url, records[:30])
        assert write_to(former_url, [decided(element(id="z4", litellm_call_id="z4"))]) == [
            "created usage"
        ]
        assert write_to(former_url, zeros[4:5]) == ["deferred suspicious_zero"]
    assert said == [
        *["duplicate replayed"] * 20,
        *["created usage"] * 10,
        *["duplicate deferred"] * 2,
        *["deferred suspicious_zero"] * 2,
    ]
    assert migrate(former_url) == [one for one in LATER if one > last]
    assert events(former_url, records[:30]) == read_back
    with psycopg.connect(former_url) as connection:
        row = connection.execute(
            "SELECT count(*), count(former.stream) FROM billing.detailed_receipts AS receipt"
            " LEFT JOIN billing.former_charge_details AS former"
            " ON former.charge_receipt_id = receipt.id WHERE receipt.stream"
        ).fetchone()
        # Ten before, ten and one meanwhile; ten are a new member's.
        assert row == (31, 21)
        row = connection.execute(
            "SELECT count(*), count(receipt_id) FROM billing.deferred_calls"
        ).fetchone()
        assert row == (5, 5)
    with closing(ReceiptWriter(former_url, ROLE)) as ledger:
        assert ledger.open_deferred()[0] == 4


def test_until_a_deferral_is_told_its_receipts_id_a_settled_race_is_shown_as_open(
    former_url: str,
) -> None:
    with former_release():
        write_to(
            former_url, [decided(element(**RACED, response_cost=0)), decided(element(**RACED))]
        )
    migrate(former_url)
    race(former_url)
    with psycopg.connect(former_url) as connection:
        connection.execute("UPDATE billing.deferred_calls SET receipt_id = NULL")
    assert len(command(former_url, "deferred", "list")) == 1
    # Nothing is pending, and yet this is done.
    done = CliRunner().invoke(app, ["migrate"], env={"DATABASE_URL": former_url})
    assert done.stdout == "the schema is up to date\n"
    assert command(former_url, "deferred", "list") == []
    with closing(Deferrals(former_url)) as deferrals, pytest.raises(Exception, match="callback"):
        deferrals.find("raced", Event.WAIVER)


def test_all_deferrals_are_told_in_parts(former_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.identities._BATCH", 2)
    zeros = [element(id=f"{n}", litellm_call_id=f"{n}", response_cost=0) for n in range(5)]
    with former_release():
        write_to(former_url, [decided(value) for value in zeros])
    migrate(former_url)
    assert migration.identified(former_url) == 0
    with psycopg.connect(former_url) as connection:
        [[missing]] = connection.execute(
            "SELECT count(*) FROM billing.deferred_calls WHERE receipt_id IS NULL"
        ).fetchall()
    assert missing == 0


def test_a_member_on_the_schema_of_the_release_before_says_what_to_do(former_url: str) -> None:
    done = room.run({"DATABASE_URL": former_url, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, "run")
    assert done.returncode == 1
    assert "the ledger is of an earlier release than this one: run" in done.stderr


def test_only_known_migrations_can_be_named(database_url: str) -> None:
    done = CliRunner().invoke(app, ["migrate", "--to", "0010a"], env={"DATABASE_URL": database_url})
    assert done.exit_code == 2
    assert "knows no migration 0010a" in done.stderr


def test_what_members_of_the_release_before_ask_by_stays_while_one_is_connected(
    former_url: str,
) -> None:
    """So the migration before an upgrade slows nobody down, and the next one finishes it."""
    with former_release(), closing(ReceiptWriter(former_url, ROLE)) as ledger:
        ledger.write([decided(element())])
        done = CliRunner().invoke(app, ["migrate"], env={"DATABASE_URL": former_url})
        applied = ", ".join(["0010", *LATER[:-1]])
        assert (done.exit_code, done.stdout) == (0, f"applied: {applied}\n")
        assert "(billing-consumer at 127.0.0.1, connected since 20" in done.stderr
        assert "is a consumer of an earlier release. Run `billing migrate` again" in done.stderr
        # Not held up, and asked by the index that it knows.
        assert looked_up_by(former_url) == {"charge_receipts_litellm_call_id"}
        done = CliRunner().invoke(app, ["migrate", "--check"], env={"DATABASE_URL": former_url})
        assert (done.exit_code, done.stdout) == (1, "pending: 0019\n")
    with closing(ReceiptWriter(former_url, ROLE)) as ledger:
        # A member of this release waits for nobody and is not waited for.
        ledger.write([decided(element(id="2"))])
        assert migrate(former_url) == ["0019"]
        assert outcomes(ledger.write([decided(element(id="3"))])) == ["created usage"]
    assert looked_up_by(former_url) == set()


def looked_up_by(url: str) -> set[str]:
    """The indexes of receipts that the release before looks into."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT indexname FROM pg_indexes WHERE tablename = 'charge_receipts'"
            " AND indexdef LIKE '%(litellm_call_id)'"
        ).fetchall()
    return {name for (name,) in found}


def test_members_from_two_releases_ago_are_named_where_more_than_one_migration_waits(
    former_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {**migration.migrations(), "0020": "SELECT"}
    with former_release(), closing(ReceiptWriter(former_url, ROLE)) as ledger:
        ledger.write([decided(element())])
        monkeypatch.setattr(migration, "migrations", lambda: known)
        with pytest.raises(migration.FormerMemberError, match="consumer of an earlier release"):
            migrate(former_url)
