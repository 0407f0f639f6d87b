"""Migrations: from nothing, again, at once, by whom, and what the roles may do afterwards."""

import json
import os
import secrets
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from ledger.migration import migrations
from ledger.receipts import ReceiptWriter
from ledger.schema import described
from tests.databases import database
from tests.databases.former_schema import NEEDED, take_back
from tests.inputs.callbacks import decided, element
from tests.observers.ledger import TABLES
from tests.processes import room
from tests.session.memory import in_memory
from tests.waiting import NET_SECONDS, Stopwatch, eventually

ROOT = Path(__file__).parents[2]
SECONDS = 60
ROLES = ("billing_consumer", "billing_reader", "billing_reconciler", "billing_guard")
REVISIONS = (
    "0001, 0002, 0003, 0004, 0005, 0006, 0007, 0008, 0009, 0010, 0011, 0012, 0013, 0014, 0015, "
    "0016, 0017, 0018, 0019"
)


@pytest.fixture(scope="module")
def database_server() -> Iterator[str]:
    """A server of these tests' own: they make and drop roles, which belong to a whole server."""
    with in_memory("migrations") as memory, database.running_database(memory) as (url, _):
        yield url


@pytest.fixture(scope="module")
def migrated_template(database_server: str) -> Iterator[str]:
    """A migrated database on that server, for copying."""
    with database.migrated_template(database_server) as name:
        yield name


def run(url: str, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run a command; its exit code, and what it said, but for lines of progress."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BILLING_")}
    done = room.run({**kept, "DATABASE_URL": url, **environment}, *arguments)
    assert "Traceback" not in done.stderr, done.stderr
    said = [line for line in done.stderr.splitlines() if '"level": "info"' not in line]
    return done.returncode, " ".join("\n".join([done.stdout, *said]).split())


def schema(url: str) -> list[tuple[object, ...]]:
    """Every column, constraint, index, trigger and right of the schema."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            """
            SELECT table_name, column_name, data_type, is_nullable, column_default
            FROM information_schema.columns WHERE table_schema = 'billing'
            UNION ALL SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', ''
            FROM pg_constraint WHERE connamespace = 'billing'::regnamespace
            UNION ALL SELECT tablename, indexname, indexdef, '', '' FROM pg_indexes
            WHERE schemaname = 'billing'
            UNION ALL SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid), '', ''
            FROM pg_trigger WHERE NOT tgisinternal
            UNION ALL SELECT table_name, grantee, privilege_type, '', ''
            FROM information_schema.role_table_grants WHERE table_schema = 'billing'
            ORDER BY 1, 2, 3
            """
        ).fetchall()


def test_from_nothing_and_again(database_url: str) -> None:
    assert run(database_url, "migrate", "--check") == (1, f"pending: {REVISIONS}")
    code, told = run(database_url, "migrate", "--check", "--json")
    assert code == 1
    assert [row["revision"] for row in json.loads(told)] == REVISIONS.split(", ")
    assert run(database_url, "migrate", "--check", "--csv")[1].split()[:2] == [
        "revision,state",
        "0001,pending",
    ]
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT to_regnamespace('billing')").fetchone() == (None,)
    assert run(database_url, "migrate") == (0, f"applied: {REVISIONS}")
    before = schema(database_url)
    assert before
    assert run(database_url, "migrate", "--check") == (0, "the schema is up to date")
    assert run(database_url, "migrate", "--json") == (0, "[]")
    assert run(database_url, "migrate") == (0, "the schema is up to date")
    assert schema(database_url) == before


def test_from_several_places_at_once(database_url: str, migrated_database_url: str) -> None:
    """While one migrates, of this release or an earlier one, the others wait for it."""
    with (
        psycopg.connect(database_url) as one,
        psycopg.connect(database_url, autocommit=True) as watcher,
        ThreadPoolExecutor(3) as pool,
    ):
        one.execute("SELECT pg_advisory_xact_lock(4815162342)")
        running = [pool.submit(run, database_url, "migrate") for _ in range(3)]
        waiting = (
            "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        eventually(
            lambda: (
                len(watcher.execute(waiting).fetchall()) == 3
                or any(each.done() for each in running)
            ),
            "all of them to wait",
        )
        assert watcher.execute("SELECT to_regnamespace('billing')").fetchone() == (None,)
        one.rollback()
        found = [each.result(NET_SECONDS) for each in running]
    # Each says what it has done itself.
    done, not_needed = (0, f"applied: {REVISIONS}"), (0, "the schema is up to date")
    assert sorted(found) == [done, not_needed, not_needed]
    assert schema(database_url) == schema(migrated_database_url)


ALEMBIC = """
CREATE SCHEMA billing;
CREATE TABLE billing.schema_migrations (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT schema_migrations_pkc PRIMARY KEY (version_num)
);
"""
"""What Alembic 1.20.1, with which earlier releases migrate, makes for itself before the first."""


@pytest.mark.parametrize("last", ["", "0001", "0004", "0008", "0009", "0010"])
def test_a_database_that_an_earlier_release_has_migrated_with_alembic_goes_on(
    database_url: str, migrated_database_url: str, last: str
) -> None:
    before = [revision for revision in migrations() if revision <= last]
    missing = ", ".join(revision for revision in migrations() if revision > last)
    with psycopg.connect(database_url) as connection:
        connection.execute(ALEMBIC)
        for revision in before:
            connection.execute(migrations()[revision])
        if last:
            connection.execute("INSERT INTO billing.schema_migrations VALUES (%s)", [last])
    pending = (1, f"pending: {missing}") if missing else (0, "the schema is up to date")
    assert run(database_url, "migrate", "--check") == pending
    said = f"applied: {missing}" if missing else "the schema is up to date"
    assert run(database_url, "migrate") == (0, said)
    assert described(database_url) == described(migrated_database_url)
    with psycopg.connect(database_url) as connection:
        # Which is how Alembic knows where it is, should the release before be taken again.
        rows = connection.execute("SELECT version_num FROM billing.schema_migrations").fetchall()
    assert rows == [(max(migrations()),)]


def waits(watcher: psycopg.Connection, table: str, longer_than: str = "0") -> bool:
    """Whether somebody has waited for a lock of this table so long, an interval of SQL."""
    waiting = (
        "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
        " AND clock_timestamp() - waitstart > %s::interval"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return bool(watcher.execute(waiting, [table, longer_than]).fetchall())


def test_a_migration_that_deadlocks_with_a_batch_is_tried_again(migrated_database_url: str) -> None:
    """A batch takes its tables in another order than the migrations do."""
    whole = schema(migrated_database_url)
    take_back(migrated_database_url, "0005")
    with (
        psycopg.connect(migrated_database_url) as batch,
        psycopg.connect(migrated_database_url) as gate,
        psycopg.connect(migrated_database_url, autocommit=True) as watcher,
        ThreadPoolExecutor() as pool,
    ):
        batch.execute("LOCK TABLE billing.charge_receipts IN ROW EXCLUSIVE MODE")
        gate.execute("LOCK TABLE billing.published_offsets IN ACCESS SHARE MODE")
        migrating = pool.submit(run, migrated_database_url, "migrate")
        eventually(
            lambda: migrating.done() or waits(watcher, "billing.published_offsets"),
            "the migration to be half done",
        )
        written = "LOCK TABLE billing.deferred_calls IN ROW EXCLUSIVE MODE"
        locked = pool.submit(batch.execute, written)
        # PostgreSQL ends whoever looks for a deadlock and finds one: once, after its timeout.
        [found] = watcher.execute("SELECT 2 * current_setting('deadlock_timeout')::interval")
        eventually(
            lambda: waits(watcher, "billing.deferred_calls", str(found[0])),
            "the batch to have looked for a deadlock",
        )
        gate.rollback()
        locked.result(NET_SECONDS)
        batch.commit()
        code, said = migrating.result(NET_SECONDS)
    assert code == 0, said
    assert "deadlock" in said
    assert (
        "applied: 0005, 0006, 0007, 0008, 0009, 0010, 0011, 0012, 0013, 0014, 0015, 0016, 0017, "
        "0018, 0019" in said
    )
    assert schema(migrated_database_url) == whole


def test_what_this_release_needs_may_be_applied_over_itself(migrated_database_url: str) -> None:
    """So the migrations behind it can be met by members that write; new tables need not be."""
    whole = schema(migrated_database_url)
    take_back(migrated_database_url, "0012", kept=NEEDED - {"0014", "0015"})
    assert run(migrated_database_url, "migrate") == (
        0,
        "applied: 0012, 0013, 0014, 0015, 0016, 0017, 0018, 0019",
    )
    assert schema(migrated_database_url) == whole


def test_schema_sql_is_what_the_migrations_make(
    database_url: str, migrated_database_url: str
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute((ROOT / "ledger" / "schema.sql").read_bytes())
    assert schema(database_url) == schema(migrated_database_url)
    # Comments, functions and what a view says as well.
    assert described(database_url) == described(migrated_database_url), (
        "write it again: `python -m ledger.schema` with DATABASE_URL of a migrated database"
    )


def test_a_release_older_than_the_schema_says_so(migrated_database_url: str) -> None:
    with psycopg.connect(migrated_database_url) as connection:
        connection.execute("UPDATE billing.schema_migrations SET version_num = '9999'")
    for arguments in (["migrate", "--check"], ["migrate"]):
        code, said = run(migrated_database_url, *arguments)
        assert code == 1
        assert "9999" in said
        assert "newer" in said


def test_a_failure_leaves_nothing_behind(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE SCHEMA billing")
        connection.execute("CREATE TABLE billing.usage_units (mine int)")
    code, said = run(database_url, "migrate")
    assert code == 1
    assert "usage_units" in said
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'billing'"
        ).fetchall()
    assert found == [("usage_units",)]


def test_a_url_for_several_hosts_is_a_url(database_url: str) -> None:
    """Libpq takes several hosts and options; so does everything here."""
    parts = urlsplit(database_url)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        hosts = f"127.0.0.1:{closed.getsockname()[1]},{parts.hostname}:{parts.port}"
        url = (
            f"postgresql://{parts.username}:{parts.password}@{hosts}{parts.path}"
            "?target_session_attrs=read-write&application_name=a%20b"
        )
        assert run(url, "migrate") == (0, f"applied: {REVISIONS}")


@pytest.mark.parametrize(
    "arguments", [["migrate"], ["migrate", "--check"], ["report"], ["deferred", "list"]]
)
def test_a_database_that_is_away_is_told_in_time(arguments: list[str]) -> None:
    with socket.socket() as silent, socket.socket() as closed:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        closed.bind(("127.0.0.1", 0))
        for server in (silent, closed):
            url = f"postgresql://user:secret@127.0.0.1:{server.getsockname()[1]}/billing"
            watch = Stopwatch()
            code, said = run(url, *arguments)
            assert watch.seconds() < 30
            assert code == 1
            assert "PostgreSQL" in said
            assert "DATABASE_URL" in said
            assert "secret" not in said


@pytest.fixture
def owner_url(database_url: str) -> Iterator[str]:
    """The database's URL as its owner: an ordinary role that may create roles."""
    name, password = f"owner_{secrets.token_hex(4)}", secrets.token_hex(8)
    parts = urlsplit(database_url)
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE ROLE {} LOGIN CREATEROLE PASSWORD {}").format(
                sql.Identifier(name), sql.Literal(password)
            )
        )
        admin.execute(
            sql.SQL("ALTER DATABASE {} OWNER TO {}").format(
                sql.Identifier(parts.path[1:]), sql.Identifier(name)
            )
        )
        yield database_url.replace(f"{parts.username}:{parts.password}@", f"{name}:{password}@")
        admin.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(sql.Identifier(name)))
        admin.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
        admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture
def without_roles(database_server: str) -> Iterator[None]:
    """A server on which nobody has made our roles yet; other databases keep their rights."""
    with psycopg.connect(database_server, autocommit=True) as admin:
        rename(admin, {role: role.replace("billing", "kept") for role in ROLES})
        yield
        # The database in which they had rights is gone by now.
        admin.execute(f"DROP ROLE IF EXISTS {', '.join(ROLES)}".encode())
        rename(admin, {role.replace("billing", "kept"): role for role in ROLES})


def rename(admin: psycopg.Connection[tuple[object, ...]], roles: dict[str, str]) -> None:
    """Rename roles where they exist."""
    for old, new in roles.items():
        if admin.execute("SELECT FROM pg_roles WHERE rolname = %s", [old]).fetchone() is not None:
            admin.execute(
                sql.SQL("ALTER ROLE {} RENAME TO {}").format(
                    sql.Identifier(old), sql.Identifier(new)
                )
            )


def writes(url: str) -> bool:
    """Whether the consumer can work with this URL."""
    with closing(ReceiptWriter(url, "billing_consumer")) as ledger:
        return ledger.write([decided(element())])[0].outcome == "created"


@pytest.mark.usefixtures("without_roles")
def test_the_owner_of_the_database_may_migrate_and_consume(owner_url: str) -> None:
    """No superuser is needed, and the consumer may take the role that the migration made."""
    assert run(owner_url, "migrate") == (0, f"applied: {REVISIONS}")
    assert writes(owner_url)


@pytest.mark.usefixtures("migrated_template")
def test_an_owner_whom_an_administrator_gave_the_roles_may_migrate_and_consume(
    owner_url: str, database_url: str
) -> None:
    owner = urlsplit(owner_url).username or ""
    with psycopg.connect(database_url, autocommit=True) as admin:
        name = sql.Identifier(owner)
        admin.execute(sql.SQL("ALTER ROLE {} NOCREATEROLE").format(name))
        admin.execute(
            sql.SQL("GRANT {} TO {}").format(sql.SQL(", ").join(map(sql.Identifier, ROLES)), name)
        )
    assert run(owner_url, "migrate") == (0, f"applied: {REVISIONS}")
    assert writes(owner_url)


def test_an_owner_sees_consumers_of_the_release_before_whoever_runs_them(
    owner_url: str, database_url: str
) -> None:
    assert run(owner_url, "migrate") == (0, f"applied: {REVISIONS}")
    take_back(owner_url, REVISIONS[-4:])
    with psycopg.connect(database_url, application_name="billing-consumer"):
        code, said = run(owner_url, "migrate")
        assert code == 0
        assert "(billing-consumer) is a consumer of an earlier release" in said
    assert run(owner_url, "migrate") == (0, f"applied: {REVISIONS[-4:]}")


@pytest.mark.usefixtures("without_roles")
def test_an_owner_who_may_not_create_roles_is_told_what_an_administrator_has_to_do(
    owner_url: str, database_url: str
) -> None:
    owner = urlsplit(owner_url).username or ""
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(sql.SQL("ALTER ROLE {} NOCREATEROLE").format(sql.Identifier(owner)))
    code, said = run(owner_url, "migrate")
    assert code == 1
    assert "CREATE ROLE billing_consumer NOLOGIN" in said
    assert f"GRANT billing_consumer TO {owner}" in said
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT to_regnamespace('billing')").fetchone() == (None,)


@pytest.mark.usefixtures("migrated_template")
def test_a_user_that_may_only_migrate_migrates_and_is_told_when_it_consumes(
    owner_url: str, database_url: str
) -> None:
    """Two users, one for the schema and one for the consumer, are an ordinary wish."""
    owner = urlsplit(owner_url).username or ""
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(sql.SQL("ALTER ROLE {} NOCREATEROLE").format(sql.Identifier(owner)))
    assert run(owner_url, "migrate") == (0, f"applied: {REVISIONS}")
    assert writes(database_url)
    code, said = run(owner_url, "run", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert code == 1
    assert "GRANT billing_consumer TO" in said


def test_each_role_may_do_exactly_what_it_needs(migrated_database_url: str) -> None:
    with psycopg.connect(migrated_database_url) as connection:
        granted = connection.execute(
            "SELECT grantee, table_name, string_agg(privilege_type, ' ' ORDER BY privilege_type)"
            " FROM information_schema.role_table_grants WHERE table_schema = 'billing'"
            " AND grantee = ANY(%s) GROUP BY 1, 2",
            [[*ROLES, "PUBLIC"]],
        ).fetchall()
        columns = connection.execute(
            "SELECT grantee, table_name, column_name FROM information_schema.column_privileges"
            " WHERE table_schema = 'billing' AND privilege_type = 'UPDATE'"
            " AND grantee IN ('billing_consumer', 'billing_reader', 'PUBLIC') ORDER BY 2, 3"
        ).fetchall()
        logins = connection.execute(
            "SELECT rolname FROM pg_roles WHERE rolname LIKE 'billing\\_%' AND (rolcanlogin"
            " OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)"
            " AND rolname <> current_user"
        ).fetchall()
    expected = {("billing_reader", table, "SELECT") for table in (*TABLES, "schema_migrations")}
    expected |= {("billing_consumer", table, "INSERT SELECT") for table in TABLES}
    expected |= {("billing_consumer", "schema_migrations", "SELECT")}
    expected |= {("billing_reader", "published_offsets", "SELECT")}
    expected |= {("billing_consumer", "published_offsets", "INSERT SELECT")}
    expected |= {("billing_reader", "lost_records", "SELECT")}
    expected |= {("billing_consumer", "lost_records", "INSERT SELECT")}
    expected |= {
        (role, view, "SELECT")
        for role in ("billing_consumer", "billing_reader")
        for view in ("open_deferrals", "detailed_receipts", "spend", "unmatched_units")
    }
    expected |= {
        ("billing_reconciler", table, "SELECT")
        for table in ("schema_migrations", "charge_receipts", "detailed_receipts",
                      "deferred_calls", "receipt_conflicts", "usage_units", "unmatched_units")
    }  # fmt: skip
    for table in ("reconciler_cursors", "reconciler_findings"):
        expected |= {("billing_reader", table, "SELECT")}
        expected |= {("billing_reconciler", table, "INSERT SELECT UPDATE")}
    credit = ("credit_accounts", "credit_entries", "credit_holds", "credit_ledger")
    expected |= {
        (role, table, "SELECT")
        for role in ("billing_reader", "billing_reconciler")
        for table in credit
    }
    expected |= {
        ("billing_consumer", "credit_accounts", "INSERT SELECT UPDATE"),
        ("billing_consumer", "credit_entries", "INSERT SELECT"),
        ("billing_consumer", "credit_holds", "SELECT"),
        ("billing_consumer", "credit_ledger", "SELECT"),
        ("billing_guard", "schema_migrations", "SELECT"),
        ("billing_guard", "charge_receipts", "SELECT"),
        ("billing_guard", "usage_units", "SELECT"),
        ("billing_guard", "credit_accounts", "INSERT SELECT UPDATE"),
        ("billing_guard", "credit_entries", "INSERT SELECT"),
        ("billing_guard", "credit_holds", "DELETE INSERT SELECT UPDATE"),
        ("billing_guard", "credit_ledger", "SELECT"),
        ("billing_guard", "credit_events", "INSERT"),
        ("billing_guard", "credit_limits", "INSERT"),
        ("billing_consumer", "credit_events", "DELETE INSERT SELECT"),
        ("billing_consumer", "credit_event_publisher", "SELECT UPDATE"),
        ("billing_reader", "credit_limits", "SELECT"),
        ("billing_consumer", "deferral_transitions", "INSERT SELECT"),
        ("billing_consumer", "checkpoints", "INSERT SELECT"),
        ("billing_consumer", "completed_runs", "INSERT SELECT"),
        ("billing_consumer", "run_totals", "INSERT SELECT"),
        ("billing_reader", "completed_runs", "SELECT"),
        ("billing_reader", "run_totals", "SELECT"),
        ("billing_consumer", "receipt_corrections", "INSERT SELECT"),
        ("billing_consumer", "sealed", "INSERT SELECT"),
        ("billing_consumer", "seals", "INSERT SELECT"),
        ("billing_reader", "checkpoints", "SELECT"),
        ("billing_guard", "receipt_corrections", "SELECT"),
        ("billing_reader", "receipt_corrections", "SELECT"),
        ("billing_reader", "sealed", "SELECT"),
        ("billing_reader", "seals", "SELECT"),
        ("billing_reader", "deferral_transitions", "SELECT"),
        ("billing_reader", "credit_events", "SELECT"),
        ("billing_reader", "credit_event_publisher", "SELECT"),
    }
    assert set(granted) == expected
    assert columns == [
        ("billing_consumer", "completed_runs", name)
        for name in ("completed_at", "due_at", "known_at", "revision")
    ] + [
        ("billing_consumer", "credit_accounts", name)
        for name in ("balance", "billing_account_id", "held", "kind", "limit", "opened_at")
    ] + [
        ("billing_consumer", "credit_event_publisher", name)
        for name in ("holder", "last_sequence", "one", "until")
    ] + [("billing_consumer", "credit_events", "sequence")] + [
        ("billing_consumer", "credit_holds", name)
        for name in ("captured", "charge_receipt_id", "ended_at", "expires_at", "state")
    ] + [
        ("billing_consumer", "deferred_calls", name)
        for name in ("resolution", "resolution_note", "resolved_at", "resolved_by", "result_key")
    ] + [
        ("billing_consumer", "open_deferrals", name)
        for name in ("resolution", "resolution_note", "resolved_at", "resolved_by")
    ] + [
        ("billing_consumer", "published_offsets", name)
        for name in (
            "after_batch_at",
            "next_offset",
            "published_offset",
            "topic_id",
            "topic_since",
            "written_at",
        )
    ] + [("billing_consumer", "sealed", "checkpoint")]
    assert logins == []


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("billing_reader", "INSERT INTO billing.usage_units DEFAULT VALUES"),
        ("billing_reader", "UPDATE billing.deferred_calls SET resolution = 'x'"),
        ("billing_reader", "UPDATE billing.open_deferrals SET resolution = 'x'"),
        ("billing_reader", "DELETE FROM billing.deferred_calls"),
        ("billing_reader", "CREATE TABLE billing.mine (id int)"),
        ("billing_consumer", "UPDATE billing.deferred_calls SET suggested_cost_usd = 0"),
        ("billing_consumer", "UPDATE billing.open_deferrals SET reason = 'x'"),
        ("billing_consumer", "DELETE FROM billing.open_deferrals"),
        ("billing_consumer", "UPDATE billing.usage_units SET tokens_in = 0"),
        ("billing_consumer", "DELETE FROM billing.deferred_calls"),
        ("billing_consumer", "DELETE FROM billing.usage_units"),
        ("billing_consumer", "UPDATE billing.sealed SET seal_id = 0"),
        ("billing_consumer", "DELETE FROM billing.sealed"),
        ("billing_consumer", "TRUNCATE billing.usage_units"),
        ("billing_consumer", "UPDATE billing.completed_runs SET run_id = 'x'"),
        ("billing_consumer", "DELETE FROM billing.completed_runs"),
        ("billing_consumer", "UPDATE billing.run_totals SET calls = 0"),
        ("billing_consumer", "CREATE TABLE billing.mine (id int)"),
        ("billing_consumer", "ALTER TABLE billing.charge_receipts DISABLE TRIGGER ALL"),
        ("billing_consumer", "DROP TRIGGER append_only ON billing.charge_receipts"),
        ("billing_consumer", "UPDATE billing.schema_migrations SET version_num = '0'"),
        ("billing_consumer", "INSERT INTO billing.reconciler_cursors DEFAULT VALUES"),
        ("billing_reader", "UPDATE billing.credit_accounts SET balance = 0"),
        ("billing_consumer", "UPDATE billing.credit_entries SET amount = 1"),
        ("billing_consumer", "DELETE FROM billing.credit_entries"),
        ("billing_consumer", "DELETE FROM billing.credit_accounts"),
        ("billing_consumer", "INSERT INTO billing.credit_holds DEFAULT VALUES"),
        ("billing_consumer", "UPDATE billing.credit_holds SET amount = 0"),
        ("billing_consumer", "UPDATE billing.credit_events SET amount = 0"),
        ("billing_guard", "DELETE FROM billing.credit_events"),
        ("billing_guard", "UPDATE billing.credit_event_publisher SET last_sequence = 9"),
        ("billing_guard", "UPDATE billing.credit_entries SET amount = 1"),
        ("billing_guard", "DELETE FROM billing.credit_entries"),
        ("billing_guard", "TRUNCATE billing.credit_entries"),
        ("billing_guard", "DELETE FROM billing.credit_accounts"),
        ("billing_guard", "ALTER TABLE billing.credit_entries DISABLE TRIGGER ALL"),
        ("billing_guard", "INSERT INTO billing.charge_receipts DEFAULT VALUES"),
        ("billing_guard", "UPDATE billing.deferred_calls SET resolution = 'x'"),
        ("billing_reconciler", "UPDATE billing.credit_accounts SET balance = 0"),
        ("billing_reconciler", "INSERT INTO billing.charge_receipts DEFAULT VALUES"),
        ("billing_reconciler", "INSERT INTO billing.usage_units DEFAULT VALUES"),
        ("billing_reconciler", "UPDATE billing.deferred_calls SET resolution = 'x'"),
        ("billing_reconciler", "DELETE FROM billing.reconciler_findings"),
    ],
)
def test_ONE_LEDGER_WRITER_who_may_not_do_more(
    migrated_database_url: str, role: str, statement: str
) -> None:
    with psycopg.connect(migrated_database_url) as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())


AMOUNTS = (
    ("charge_receipts", "response_cost_usd"),
    ("charge_receipts", "charged_usd"),
    ("charge_receipts", "saved_cache_cost"),
    ("former_charge_details", "saved_cache_cost"),
    ("deferred_calls", "suggested_cost_usd"),
    ("receipt_conflicts", "response_cost_usd"),
    ("reconciler_findings", "spend_usd"),
    ("reconciler_findings", "receipt_cost_usd"),
    ("receipt_corrections", "amount_usd"),
    ("receipt_corrections", "corrected_usd"),
    ("run_totals", "charged_usd"),
)


def numeric_columns(url: str) -> set[tuple[str, str]]:
    """Every column of the schema's tables that can hold what is no number."""
    with psycopg.connect(url) as connection:
        return {
            (str(table), str(column))
            for table, column in connection.execute(
                "SELECT table_name, column_name FROM information_schema.columns"
                " JOIN information_schema.tables USING (table_schema, table_name)"
                " WHERE table_schema = 'billing' AND table_type = 'BASE TABLE'"
                " AND data_type IN ('numeric', 'real', 'double precision')"
            )
        }


def test_MONEY_IS_EXACT_no_amount_is_something_else_than_a_number(
    migrated_database_url: str,
) -> None:
    assert numeric_columns(migrated_database_url) == set(AMOUNTS)
    with psycopg.connect(migrated_database_url, autocommit=True) as connection:
        for table, column in AMOUNTS:
            name = sql.Identifier("billing", table)
            copy = sql.SQL("CREATE TEMP TABLE held (LIKE {} INCLUDING CONSTRAINTS)").format(name)
            connection.execute(copy)
            required = connection.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = 'pg_temp.held'::regclass"
                " AND attnum > 0 AND attnotnull"
            )
            for (each,) in required.fetchall():
                connection.execute(
                    sql.SQL("ALTER TABLE held ALTER {} DROP NOT NULL").format(sql.Identifier(each))
                )
            insert = sql.SQL("INSERT INTO held ({}) VALUES (%s::numeric)").format(
                sql.Identifier(column)
            )
            for amount in ("NaN", "Infinity", "-Infinity"):
                with pytest.raises(psycopg.errors.CheckViolation):
                    connection.execute(insert, [amount])
            connection.execute("DROP TABLE held")
