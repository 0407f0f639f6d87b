"""Every command of the README and of the how-to pages does what the page says.

What needs Docker, a cluster or a registry is held against the files that it would use.
"""

import itertools
import json
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import httpx
import psycopg
import pytest

from tests.clients import fetching
from tests.inputs.provider_bills import Charged, openai_dashboard
from tests.observers.manifests import charted, composed, image, secret
from tests.observers.pages import ROOT, Command, Shell, blocks, checkout, commands, shape
from tests.processes.process import Server, ServerError
from tests.processes.restarts import brought_up
from tests.waiting import eventually

CAPTURES: Final = ROOT / "schemas/examples/litellm"
PAGES: Final = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/operations.md",
    "docs/subscribers.md",
    "docs/security.md",
    "docs/costs.md",
    "docs/credits.md",
    "docs/docker.md",
    "docs/estimates.md",
    "docs/executors.md",
    "docs/finance.md",
    "docs/kubernetes.md",
    "docs/litellm.md",
    "docs/performance.md",
    "docs/reconciler.md",
    "docs/reliability.md",
    "docs/scaling.md",
    "docs/spend-guard.md",
    "tests/README.md",
)
Check: TypeAlias = Callable[[Shell, Command], None]


def sql(shell: Shell, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query in the stack's database."""
    with psycopg.connect(shell.environment["DATABASE_URL"]) as connection:
        return connection.execute(query.encode()).fetchall()


def post(shell: Shell, capture: str) -> None:
    """Send a captured body to the stack."""
    answer = fetching.post(
        f"{shell.environment['GATEWAY_URL']}/v1/callbacks/litellm",
        content=(CAPTURES / capture).read_bytes(),
        headers={"Authorization": f"Bearer {shell.environment['BILLING_INGEST_TOKEN']}"},
    )
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text


def described(stack: Shell) -> dict[str, str]:
    """What `make up` left in `.run/env`."""
    lines = (stack.directory / ".run/env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A checkout after `make up`, with two deferred calls that wait for a person."""
    with checkout() as directory:
        shell = Shell(directory, tmp_path_factory.mktemp("readme") / "environment")
        try:
            shell.run("make up")
            shell.environment |= described(shell)
            post(shell, "real-unknown-price.json")
            post(shell, "mock-unknown-price.json")
            calls = "SELECT FROM billing.deferred_calls"
            eventually(lambda: len(sql(shell, calls)) == 2, "two deferred calls")
            yield shell
        finally:
            shell.run("make down")
        assert not (directory / ".run/env").exists(), "the stack still says that it runs"


def ran(stack: Shell, command: Command) -> None:
    """The command succeeds and prints what the page shows."""
    printed = stack.run(command.text)
    missing = Counter(shape(command.output)) - Counter(shape(printed))
    assert not missing, f"$ {command.text}\nthe page shows {list(missing)}, printed was\n{printed}"


def ran_if_installed(stack: Shell, command: Command) -> None:
    """As `ran`; on a machine without the tool only its syntax is checked."""
    if shutil.which(command.text.split()[0]):
        ran(stack, command)
    else:
        stack.run(f"bash -n -c {shlex.quote(command.text)}")


def posted(stack: Shell, command: Command) -> None:
    """The callback becomes a receipt."""
    ran_if_installed(stack, command)
    if shutil.which("curl") is None:
        post(stack, "real-stream-usageopt.json")
    eventually(lambda: sql(stack, "SELECT FROM billing.charge_receipts"), "the receipt")


def account_setting(stack: Shell, command: Command) -> None:
    """The consumer takes the setting."""
    stack.run(
        f"{command.text} && .venv/bin/python -m consumer deferred list && unset {named(command)}"
    )


def silence_setting(stack: Shell, command: Command) -> None:
    """The gateway takes the setting, where it has tokens of the sources that the page names."""
    tokens = f"BILLING_INGEST_TOKENS=eu={'e' * 32},nightly={'n' * 32}"
    read = "from producer_gateway.settings import Settings; Settings().silence_limits()"
    stack.run(f"{command.text} && {tokens} .venv/bin/python -c '{read}' && unset {named(command)}")


def trace_setting(stack: Shell, command: Command) -> None:
    """A process takes the settings of traces so far, and the SDK knows the name."""
    name = named(command)
    known = "from opentelemetry.sdk import environment_variables as known; "
    made = "from runtime.tracing import Tracing, traces; assert traces(Tracing(), 'gateway')"
    found = made if name.startswith("BILLING_") else f"{known}assert known.{name}; {made}"
    stack.run(f'{command.text} && BILLING_TRACES=otlp .venv/bin/python -c "{found}"')
    stack.run(f"unset {name}")


def spool(stack: Shell, command: Command) -> None:
    """The command finds the spool of the stack, and nothing wrong with it."""
    text = command.text.partition(" #")[0].strip()
    stack.run(f'PATH="$PWD:$PATH" GATEWAY_SPOOL_DIR=.run/spool {text}')


def spool_without_a_gateway(stack: Shell, command: Command) -> None:
    """The command takes a directory that no gateway uses, and finds that nothing waits there."""
    text = command.text.partition(" #")[0].strip()
    empty = 'PATH="$PWD:$PATH" GATEWAY_SPOOL_DIR=$(mktemp -dp "${STATE%/*}")'
    assert re.search("nothing waits|0 records", stack.run(f"{empty} {text}"))


def told_of(stack: Shell, command: Command) -> None:
    """The command takes the name, and tells of it or that nothing is known of it."""
    stack.run(f'PATH="$PWD:$PATH"; {command.text} || test $? = 1')


def named_alone(stack: Shell, command: Command) -> None:
    """As `ran`, with the checkout on the path."""
    path = stack.environment["PATH"]
    stack.environment["PATH"] = f"{stack.directory}:{path}"
    ran(stack, command)
    stack.environment["PATH"] = path


def verified(stack: Shell, command: Command) -> None:
    """The command finds everything as it was; no checkpoint was made so far, so none is kept."""
    (stack.directory / "checkpoints.jsonl").write_text("")
    named_alone(stack, command)


def audited(stack: Shell, command: Command) -> None:
    """The command takes the period, and says that no proxy answers at such an address."""
    asked = "LITELLM_URL=http://127.0.0.1:9 LITELLM_API_KEY=none RECONCILER_TRIES=1"
    said = stack.run(f'(PATH="$PWD:$PATH"; export {asked}; {command.text} 2>&1 || test $? = 1)')
    assert ">" in command.text or "http://127.0.0.1:9" in said, said


def billed(stack: Shell, command: Command) -> None:
    """The command compares a bill of such a name; no call of the stack is on it."""
    bill = openai_dashboard([Charged("gpt-none, input", "2026-10-15", "1")], currency="eur")
    parts = shlex.split(command.text.partition(" > ")[0])
    for option, name in itertools.pairwise(parts):
        if option == "--provider-bill":
            (stack.directory / name).write_bytes(bill)
    text = command.text if "--rate" in parts else f"{command.text} --rate EUR=1"
    stack.run(f'(PATH="$PWD:$PATH"; {text} || test $? = 1)')


def compared_with_prices(stack: Shell, command: Command) -> None:
    """The command takes the period, and the table that the page names."""
    (stack.directory / "prices.json").write_text(json.dumps({"m": {"input_cost_per_token": 0.1}}))
    stack.run(f'(PATH="$PWD:$PATH"; {command.text} || test $? = 1)')


def packaged(_: Shell, command: Command) -> None:
    """The wheel is of this version; `repository/test_wheel.py` shows that it works by itself."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert command.text.endswith((" .", f"/billing_stream-{version}-py3-none-any.whl"))
    assert not command.output or f"billing-stream {version}," in command.output


def packaged_alone(_: Shell, command: Command) -> None:
    """There is such a project; that it installs by itself is seen in `repository/test_wheel.py`."""
    folder = ROOT / command.text.partition(" #")[0].split()[-1]
    assert "project" in tomllib.loads((folder / "pyproject.toml").read_text())


def migrated(stack: Shell, command: Command) -> None:
    """What the page shows as applied is there, and the stack's database has it."""
    there = {path.name[:4] for path in (ROOT / "ledger/migrations/sql").glob("*.sql")}
    assert set(re.findall(r"\d{4}", command.output)) <= there
    assert "up to date" in stack.run(f'PATH="$PWD:$PATH"; {command.text}')


def named(command: Command) -> str:
    """The variable that an `export` sets."""
    return command.text.removeprefix("export ").partition("=")[0]


def target(_: Shell, command: Command) -> None:
    """The Makefile has it. `make demo` has a test of its own; `make test` would begin anew."""
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{command.text.split()[1]}:.*## ", makefile, re.MULTILINE)


def pytest_path(_: Shell, command: Command) -> None:
    """There are tests where the page says."""
    assert list((ROOT / command.text.split()[1]).glob("test_*.py"))


@cache
def help_of(directory: Path, program: str) -> str:
    """What a program says of itself; to ask it takes seconds."""
    asked = shlex.split(f"{program} --help")
    return subprocess.run(asked, cwd=directory, capture_output=True, text=True, check=True).stdout


def offered(shell: Shell, command: Command) -> None:
    """What takes minutes or hours: the program is there, and takes the options of the page."""
    text = command.text.partition(" #")[0].strip()
    program, *options = re.split(r" (?=--)", text)
    if program.startswith("make "):
        assert shell.run(f"{text} --dry-run")
    elif " -m pytest -k " in program:
        # In one file that has such tests: to collect them all would take as long as some tests do.
        named = program.split()[-1]
        files = sorted((ROOT / "tests").rglob("test_*.py"))
        there = next(file for file in files if f"def test_{named}" in file.read_text())
        assert "::test_" in shell.run(f"{program} --collect-only --quiet {there.relative_to(ROOT)}")
    elif "-m pytest " in program:
        assert "::test_" in shell.run(f"{program} --collect-only --quiet")
    else:
        told = help_of(shell.directory, program)
        assert all(option.split()[0] in told for option in options)


CHECKS: Final[dict[str, Check]] = {
    r"make (demo|test|up|down|install|check)": target,  # `stack` runs up and down
    r"set -a; \. \.run/env; set \+a": ran,
    r"curl .*/v1/callbacks/litellm\"": posted,
    r"curl .*": ran_if_installed,
    r"psql .*": ran_if_installed,
    r"openssl rand -hex 32": ran_if_installed,
    r"echo \"BILLING_INGEST_TOKEN=\$\(openssl rand -hex 32\)\" > \.env": ran,
    r"\./billing (report|spend|statement|deferred|dead-letters|topics|migrate|doctor)\b.*": ran,
    r"\./billing findings list\b.*": ran,
    r"\./billing (accounts|credit|holds)\b.*": ran,
    r"(\./)?billing audit --provider-bill .*": billed,
    r"billing audit --price.*": compared_with_prices,
    r"(\./)?billing audit .*": audited,
    r"(\./)?billing explain .*": told_of,
    r"billing findings close .*": told_of,
    r"billing correct [0-9a-f-]{36} .*": told_of,
    r"billing correct (list|open)\b.*": named_alone,
    r"billing verify\b.*": verified,
    r"billing deferred accept .*": told_of,  # no charge has come
    r"billing (spend|statement|deferred|dead-letters|findings|replay|topics)\b.*": named_alone,
    r"billing estimate\b.*": named_alone,
    r"billing migrate( --to \d{4})?( +#.*)?": migrated,
    r"pip wheel .*|pipx install .*": packaged,
    r"pip install \./.*": packaged_alone,
    r"billing spool (inspect|salvage)\b.*": spool,
    r"billing spool (list|drain)\b.*": spool_without_a_gateway,
    r"export BILLING_ACCOUNT_FROM=.*": account_setting,
    r"export GATEWAY_SILENCE_LIMITS=.*": silence_setting,
    r"export (BILLING_TRACES|OTEL_\w+)=.*": trace_setting,
    r"\.venv/bin/pytest .*": pytest_path,
    r"make (bench|fuzz).*": offered,
    r"\.venv/bin/python -m pytest .*": offered,
    r"\.venv/bin/python -m tests\.(bench|chaos|pictures)\b.*": offered,
    r"TAKING_RECORDS=.* -m pytest .*": offered,
    r"CHAOS_ONLY=.* -m pytest .*": offered,
    r"(\w+=\S+ )*docker compose .*": composed,
    r"docker (build|run) .*": image,
    r"helm (install|upgrade --install) .*": charted,
    r"kubectl create secret generic .*": secret,
}


def check_of(command: Command) -> Check:
    """How the command is checked; an unknown one is a failure."""
    for pattern, check in CHECKS.items():
        if re.fullmatch(pattern, command.text):
            return check
    raise AssertionError(f"nobody checks this command: say how in CHECKS\n$ {command.text}")


@pytest.fixture(scope="module")
def seen() -> set[Command]:
    """Commands that an earlier page had; each takes seconds."""
    return set()


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_page_works(
    stack: Shell, seen: set[Command], page: str, tmp_path: Path
) -> None:
    shell = Shell(stack.directory, tmp_path / "environment")
    shell.environment |= described(stack)
    for command in commands(page):
        if command not in seen:
            check_of(command)(shell, command)
            seen.add(command)


def test_every_page_with_commands_is_among_them() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")]
    pages.append(ROOT / "tests/README.md")
    names = {str(page.relative_to(ROOT)) for page in pages}
    assert {name for name in names if commands(name)} <= set(PAGES)


def test_every_check_is_needed() -> None:
    texts = [command.text for page in PAGES for command in commands(page)]
    assert all(any(re.fullmatch(pattern, text) for text in texts) for pattern in CHECKS)


def demonstrated(directory: Path) -> str:
    """What `make demo` prints. Raises `ServerError` where a part that is not ours has crashed."""
    with checkout() as tree:
        try:
            return Shell(tree, directory / "environment").run("make demo")
        except AssertionError as failed:
            crash = re.search(
                r"\b(litellm|upstream) ended with exit code -\d+ \(SIG\w+\)", str(failed)
            )
            if crash is None:
                raise
            raise ServerError(crash[0]) from failed


def test_the_demo_shows_what_the_readme_shows(tmp_path: Path) -> None:
    printed = brought_up("the demo's LiteLLM proxy", lambda: demonstrated(tmp_path))
    (shown,) = blocks("README.md", "text")
    missing = Counter(shape(shown)) - Counter(shape(printed))
    assert not missing, f"the README shows {list(missing)}, printed was\n{printed}"
    assert "FAILED" not in printed


def test_the_subscriber_of_the_contract_counts_each_receipt_and_correction_once(
    stack: Shell, tmp_path: Path
) -> None:
    post(stack, "real-stream-usageopt.json")
    post(stack, "mock-claude.json")
    (example,) = blocks("docs/subscribers.md", "python")

    def read_all(group: str) -> dict[str, int]:
        """Run the example until it has printed every event; what its books say then."""
        (tmp_path / "subscriber.py").write_text(example.replace("credits-by-account", group))
        log = tmp_path / f"{group}.log"
        command = [sys.executable, "subscriber.py"]
        server = Server("subscriber", command, log, env=stack.environment, cwd=tmp_path)
        server.start()
        total = "SELECT account, charged_credits FROM billing.spend"
        eventually(
            lambda: (
                {f"{name} {credit}" for name, credit in sql(stack, total)}
                <= set(log.read_text().splitlines())
            ),
            "the subscriber to see every event",
        )
        server.check()
        server.stop()
        with closing(sqlite3.connect(tmp_path / "credits.db")) as books:
            return dict(books.execute("SELECT account, total FROM credits"))

    eventually(lambda: len(sql(stack, "SELECT FROM billing.charge_receipts")) >= 2, "receipts")
    [[receipt]] = sql(stack, "SELECT id FROM billing.charge_receipts ORDER BY id LIMIT 1")
    by = "--to 0.0000009 --reason price --by ada --reference subscriber"
    assert "corrected: price of" in stack.run(f"./billing correct {receipt} {by}")
    sums = "SELECT account, sum(charged_credits)::int FROM billing.spend GROUP BY account"
    first = read_all("credits-by-account")
    assert first == dict(sql(stack, sums))
    assert read_all("the-same-from-the-start") == first, "an event that is read twice counts twice"
