"""PostgreSQL fails over to a standby that was behind: the books are right again by themselves."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from tests.databases.embedded_postgres import EmbeddedPostgres
from tests.databases.standby import Standby
from tests.inputs.callbacks import in_run
from tests.network.gate import Gate
from tests.observers.credits import unbalanced
from tests.observers.ledger import TABLES
from tests.processes.consuming import Consuming
from tests.waiting import eventually

KNOWN, LOST = 60, 40
BROKEN = b"{"


@dataclass
class Replicated:
    """A primary, its standby, and a door that leads to one of them."""

    primary: EmbeddedPostgres
    standby: Standby
    door: Gate

    @property
    def url(self) -> str:
        """Through the door."""
        port = self.primary.database.port
        return self.primary.url.replace(f":{port}/", f":{self.door.port}/")

    def fail_over(self) -> None:
        """What the standby had not received is gone."""
        self.door.shut()
        self.primary.kill()
        self.standby.start()
        self.standby.promote()
        self.door.behind = self.standby.port
        self.door.open()


@pytest.fixture
def replicated() -> Iterator[Replicated]:
    """Both run; the primary waits for nobody."""
    primary = EmbeddedPostgres()
    primary.start()
    standby = Standby(primary)
    standby.start()
    door = Gate(primary.database.port)
    yield Replicated(primary, standby, door)
    door.shut()
    standby.remove()
    primary.stop()
    primary.remove()


def books(url: str) -> dict[str, list[str]]:
    """Every row, without when it was written and the numbers that it was given."""
    told = "to_jsonb(t) - '{id,created_at,credit_batch,deferred_at,detected_at}'::text[]"
    with psycopg.connect(url) as connection:
        found = {
            table: [
                str(text)
                for (text,) in connection.execute(
                    f"SELECT ({told})::text FROM billing.{table} t ORDER BY 1".encode()  # noqa: S608
                )
            ]
            for table in TABLES
        }
        ids = connection.execute("SELECT id::text FROM billing.charge_receipts ORDER BY 1")
        assert unbalanced(connection) == []
        balances = connection.execute(
            "SELECT billing_account_id, balance FROM billing.credit_accounts ORDER BY 1"
        )
        return found | {
            "ids": [str(text) for (text,) in ids],
            "balances": [f"{name} {balance}" for name, balance in balances],
        }


def test_COMMIT_AFTER_WRITE_also_after_a_fail_over_to_a_standby_that_was_behind(
    kafka: str, replicated: Replicated, topic_prefix: str, tmp_path: Path
) -> None:
    with closing(Consuming(kafka, replicated.url, topic_prefix, tmp_path)) as consuming:
        consuming.command("migrate")
        member = consuming.member()
        consuming.send(*map(in_run, range(KNOWN)))
        consuming.all_committed()
        count = "SELECT count(*)::int FROM billing.charge_receipts"
        eventually(lambda: replicated.standby.has(count, KNOWN), "the standby to follow")
        replicated.standby.stop()

        consuming.send(*map(in_run, range(KNOWN, KNOWN + LOST)), BROKEN)
        consuming.send(*(in_run(number, response_cost=0) for number in range(200, 205)))
        consuming.all_committed()
        before = books(replicated.primary.url)
        assert len(before["ids"]) == KNOWN + LOST
        replicated.fail_over()

        # Nothing comes in meanwhile: it is noticed all the same.
        eventually(lambda: books(replicated.standby.url) == before, "the books to be whole again")
        assert member.said("the ledger knows less than the group has committed")
        assert member.counted("billing_ledger_behind_records_total") == LOST + 6
        assert member.counted('billing_ledger_rewritten_records_total{outcome="created"}') == LOST
        assert member.counted("billing_ledger_lost_records_total") == 0

        # Senders repeat; and life goes on.
        consuming.send(*map(in_run, range(KNOWN, KNOWN + LOST + 10)))
        consuming.all_committed()
        consuming.every_receipt_is_published_once(KNOWN + LOST + 10)
        assert [letter.value for letter in consuming.dead_letters()] == [BROKEN]
        assert member.counted("billing_ledger_behind_records_total") == LOST + 6
        eventually(lambda: member.probe("/readyz") == 200, "the member to be ready again")
        assert member.end() == 0
