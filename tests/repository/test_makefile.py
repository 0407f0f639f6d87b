"""What a machine lacks is said in one sentence, and nothing is installed to say it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.waiting import NET_SECONDS

ROOT = Path(__file__).parents[2]
NOBODY = 65_534
TOOLS = ("bash", "id", "grep", "tail", "dirname")
TARGETS = (
    *("install", "demo", "up", "test", "litellm-versions"),
    *("lint", "format", "schemas", "bench", "chaos"),
)


@pytest.fixture
def copy() -> Iterator[Path]:
    """A copy of the Makefile and of CI's script where nothing was installed; others may enter."""
    with TemporaryDirectory(prefix="makefile-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        shutil.copy(ROOT / "Makefile", directory)
        shutil.copytree(ROOT / ".ci", directory / ".ci")
        yield directory


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A directory for PATH that holds a shell and little else."""
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found
        (tmp_path / tool).symlink_to(found)
    return tmp_path


def run(
    directory: Path, *command: str, path: Path | None = None, user: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command there; an absolute path where PATH does not hold it."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    return subprocess.run(
        [shutil.which(command[0]) or command[0], *command[1:]],
        cwd=directory,
        env=kept | ({"PATH": str(path)} if path else {}),
        user=user,
        capture_output=True,
        text=True,
        timeout=NET_SECONDS,
        check=False,
    )


def told(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence of a failed run, without make's own line."""
    assert done.returncode != 0
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("make: ***")]
    return line


def test_down_where_nothing_was_installed_says_so_and_installs_nothing(
    copy: Path, tools: Path
) -> None:
    before = sorted(copy.rglob("*"))
    done = run(copy, "make", "down", path=tools)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["nothing is installed here", f"nothing runs in {copy}/.run"]
    assert sorted(copy.rglob("*")) == before


def test_down_where_the_environment_was_deleted_says_what_to_do(copy: Path) -> None:
    (copy / ".run").mkdir()
    (copy / ".run" / "lock").touch()
    assert "`make install`, then `make down`" in told(run(copy, "make", "down"))


@pytest.mark.parametrize("target", TARGETS)
def test_a_machine_without_python_is_told_which_one(copy: Path, tools: Path, target: str) -> None:
    sentence = told(run(copy, "make", target, path=tools))
    assert sentence.startswith("Python 3.11, 3.12 or 3.13 is needed")


def test_an_old_python_is_none(copy: Path, tools: Path) -> None:
    old = tools / "python3"
    old.write_text("#!/bin/bash\nexit 1\n")
    old.chmod(0o755)
    assert told(run(copy, "make", "up", path=tools)).startswith("Python 3.11, 3.12 or 3.13")


@pytest.mark.parametrize("target", TARGETS)
def test_a_checkout_that_is_read_only_is_told(copy: Path, target: str) -> None:
    copy.chmod(0o555)
    user = NOBODY if os.geteuid() == 0 else None
    assert "read-only" in told(run(copy, "make", target, user=user))


def test_a_uv_that_cannot_be_installed_is_told_in_pips_last_words(copy: Path, tools: Path) -> None:
    python = tools / "python3.11"
    python.write_text(
        f"#!/bin/bash\nif [ $1 = -c ]; then echo {python}; exit 0; fi\necho no; echo no way\nexit 1"
    )
    python.chmod(0o755)
    done = run(copy, "make", "install", path=tools)
    assert done.returncode != 0
    assert done.stderr.splitlines()[0].endswith("put one on the PATH; pip says: no way")


def test_ci_without_make_says_so(copy: Path, tools: Path) -> None:
    assert told(run(copy, str(copy / ".ci" / "run"), path=tools)).startswith("make is missing")
