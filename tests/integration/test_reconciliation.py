"""What the reconciler remembers in the ledger, in the role that it acts as."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest

from ledger.findings import FindingError, Findings, FindingVerdict
from ledger.healing import LedgerError
from ledger.receipts import ReceiptWriter
from ledger.reconciler_lock import ReconcilerLock
from ledger.reconciliation import Finding, Reconciliation
from reconciler.comparison import Verdict
from tests.databases.writing import write
from tests.inputs.callbacks import costing, decided, element

ROLE = "billing_reconciler"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def books(migrated_database_url: str) -> Iterator[Reconciliation]:
    """The books of the usual source."""
    with closing(Reconciliation(migrated_database_url, ROLE, "litellm")) as opened:
        yield opened


def finding(request: str, verdict: str = "missing", key: str | None = None) -> Finding:
    """A row without an answer."""
    return Finding(request, request, key or request, verdict, None, "0.25", None, NOON, "acct")


def test_the_cursor_is_each_sources_own_and_never_goes_back(
    books: Reconciliation, migrated_database_url: str
) -> None:
    assert books.cursor() is None
    books.move(NOON)
    books.move(NOON - timedelta(hours=1))
    assert books.cursor() == NOON
    with closing(Reconciliation(migrated_database_url, ROLE, "litellm/eu")) as other:
        assert other.cursor() is None


def test_calls_are_known_by_key_by_call_id_and_by_response_id(
    books: Reconciliation, ledger: ReceiptWriter
) -> None:
    write(
        ledger, decided(element()), decided(element(id="z", litellm_call_id="z", response_cost=0))
    )
    write(ledger, decided(costing("5")), decided(element(id="eu"), source="litellm/eu"))
    for found in (
        books.known(["call-1|chatcmpl-1"]),
        books.known([], ["call-1"]),
        books.known([], [], ["chatcmpl-1"]),
    ):
        assert {one.call_key for one in found} == {"call-1|chatcmpl-1"}
        assert {(one.cost, one.contradicted) for one in found} == {(Decimal("0.000036"), True)}
    for found in (books.known(["z|z"]), books.known([], ["z"]), books.known([], [], ["z"])):
        assert {(one.call_key, one.receipt, one.cost) for one in found} == {("z|z", None, None)}
    assert books.known(["call-1|eu"]) == []
    assert [one.source_system for one in books.elsewhere(["call-1|eu"])] == ["litellm/eu"]
    assert books.elsewhere(["call-1|chatcmpl-1"]) == []


def test_a_finding_is_noted_once_closed_with_its_receipt_and_stays_closed(
    books: Reconciliation,
) -> None:
    assert books.note([finding("a"), finding("b")])["a"].reposted_at is None
    books.reposted(["a"])
    assert books.note([finding("a")])["a"].reposted_at is not None
    assert [one.request_id for one in books.open_findings("", 10)] == ["a", "b"]
    assert [one.request_id for one in books.open_findings("a", 10)] == ["b"]
    assert books.close_findings({"a": Decimal("0.25"), "unknown": None}) == 1
    [count] = books.open_counts()
    assert (count.verdict, count.findings, count.spend_usd) == ("missing", 1, Decimal("0.25"))
    assert books.note([finding("a")])["a"].closed_at is not None
    # Something else is found: it is open again.
    assert books.note([finding("a", "differs")])["a"].closed_at is None


def test_a_person_closes_a_finding_and_says_why(
    books: Reconciliation, migrated_database_url: str
) -> None:
    books.note([finding("a", key="k"), finding("b", "differs"), finding("c", "elsewhere", "k")])

    def shown(*verdicts: FindingVerdict, closed: bool = False) -> list[tuple[object, ...]]:
        rows = findings.listed(verdicts, closed=closed, limit=10).rows
        return [(row["row"], row["by"], row["note"]) for row in rows]

    with closing(Findings(migrated_database_url)) as findings:
        assert shown(FindingVerdict.DIFFERS) == [("b", None, None)]
        findings.close_by_hand(findings.find("b"), "ada", "credited")
        assert [row for row, *_ in shown()] == ["a", "c"]
        assert shown(FindingVerdict.DIFFERS, closed=True) == [("b", "ada", "credited")]
        with pytest.raises(FindingError, match="already closed"):
            findings.find("b")
        with pytest.raises(FindingError, match="no finding 'a'"):
            findings.find("a", "litellm/eu")
        with pytest.raises(FindingError, match=r"several findings.*a of litellm, c of litellm"):
            findings.find("k")
        late = findings.find("a")
        assert books.close_findings({"a": Decimal("0.25")}) == 1
        with pytest.raises(FindingError, match="in the meantime"):
            findings.close_by_hand(late, "ada", "too late")
        assert shown(FindingVerdict.MISSING, closed=True) == [("a", None, None)]
        assert books.note([finding("b", "elsewhere")])["b"].closed_at is None
        assert shown(FindingVerdict.ELSEWHERE) == [("b", None, None), ("c", None, None)]


def test_a_finding_has_a_verdict_of_the_reconciler_or_cannot_be_read(
    books: Reconciliation,
) -> None:
    assert set(FindingVerdict) - {"unreadable"} <= set(Verdict)
    assert len(books.note([finding(one, one) for one in FindingVerdict])) == len(FindingVerdict)


def test_units_that_nothing_explains_are_told(
    books: Reconciliation, migrated_database_url: str, ledger: ReceiptWriter
) -> None:
    write(
        ledger, decided(element()), decided(element(id="z", litellm_call_id="z", response_cost=0))
    )
    units = [("call-1", None), (None, "chatcmpl-1"), ("z", None), ("lost", None), (None, None)]
    with psycopg.connect(migrated_database_url) as connection:
        for call, response in units:
            connection.execute(
                "INSERT INTO billing.usage_units (unit_id, run_id, attempt, litellm_call_id,"
                " response_id, executor, finished_at, kafka_topic, kafka_partition, kafka_offset)"
                " VALUES (gen_random_uuid(), 'run-1', 2, %s, %s, 'tests', %s, 't', 0, 0)",
                [call, response, NOON],
            )
    hour = timedelta(hours=1)
    found = books.unmatched_units(10, start=NOON - hour, until=NOON + hour)
    assert {(one["litellm_call_id"], one["response_id"]) for one in found} == {
        ("lost", None),
        (None, None),
    }
    assert books.unmatched_units(10, start=NOON + hour, until=NOON + 2 * hour) == []
    assert len(books.unmatched_units(10, run=("run-1", 2))) == 2
    assert books.unmatched_units(10, run=("run-1", 1)) == []


def test_one_of_two_holds_the_lock_and_the_other_gets_it_when_the_first_is_cut_off(
    migrated_database_url: str,
) -> None:
    one, two = (ReconcilerLock(migrated_database_url, "litellm") for _ in range(2))
    eu = ReconcilerLock(migrated_database_url, "litellm/eu")
    with ExitStack() as ends:
        for lock in (one, two, eu):
            ends.callback(lock.release)
        assert [one.acquire(), two.acquire(), one.acquire(), eu.acquire()] == [
            *(True, False, True, True)
        ]
        one.check()
        with psycopg.connect(migrated_database_url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'billing-reconciler-lock'"
                " AND datname = current_database()"
            )
        with pytest.raises(LedgerError):
            one.check()
        assert two.acquire()
        assert not one.acquire()
