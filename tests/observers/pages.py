"""The pages as a reader uses them: commands of code blocks, and a shell to type them in."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.waiting import NET_SECONDS

ROOT = Path(__file__).parents[2]
COMMAND_SECONDS = 240
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHELLS = {"sh", "bash", "shell", "console"}
OURS = (
    "BILLING_",
    "GATEWAY_",
    "CONSUMER_",
    "SPEND_GUARD_",
    "KAFKA_",
    "DATABASE_URL",
    "LITELLM_",
    "PYTEST_",
    "VIRTUAL_ENV",
)
# Shared, an environment would be laid anew by each side for its own path.
OF_ITS_OWN = {".run", ".env", ".git", ".venv", ".venv-litellm"}


@dataclass(frozen=True)
class Command:
    """One command of a page, without its comment, and the output that the page shows for it."""

    text: str
    output: str = ""


def blocks(page: str, *languages: str) -> list[str]:
    """The code blocks of a page in one of the languages."""
    text = (ROOT / page).read_text()
    return [body for language, body in BLOCK.findall(text) if language in languages]


def commands(page: str) -> list[Command]:
    """The commands of a page, in order. In `console` blocks they follow `$ ` and have output."""
    text = (ROOT / page).read_text()
    found: list[Command] = []
    for language, body in BLOCK.findall(text):
        if language in SHELLS:
            found += _commands(
                body.replace("\\\n", ""), prompt="$ " if language == "console" else ""
            )
    return found


def _commands(body: str, *, prompt: str) -> list[Command]:
    found: list[Command] = []
    for line in body.splitlines():
        if line.startswith(prompt):
            text = re.sub(r"\s+", " ", re.sub(r"\s+#\s.*$", "", line.removeprefix(prompt))).strip()
            found += [Command(text)] if text else []
        else:
            last = found.pop()
            found.append(Command(last.text, f"{last.output}{line}\n"))
    return found


@contextmanager
def checkout() -> Iterator[Path]:
    """A directory that is this checkout to every command, with an environment of its own.

    Others may enter it, unlike pytest's directories: root's PostgreSQL runs as another user.
    """
    with TemporaryDirectory(prefix="checkout-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        for entry in ROOT.iterdir():
            if entry.name not in OF_ITS_OWN:
                (directory / entry.name).symlink_to(entry)
        yield directory


class Shell:
    """Bash in a checkout; what a command exports stays for those after it.

    Begins without any variable of ours.
    """

    def __init__(self, directory: Path, state: Path) -> None:
        self.directory = directory
        self._state = state
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
        # Not one that a version manager or this test run's environment puts first on the path.
        self.environment["PYTHON"] = str(Path(sys.executable).resolve())

    def run(self, command: str) -> str:
        """What `command` prints; it must succeed."""
        script = f'{command}\nstatus=$?\nenv -0 > "$STATE"\nexit $status'
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.directory,
            env={**self.environment, "STATE": str(self._state)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=NET_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
        pairs = self._state.read_text().rstrip("\0").split("\0")
        self.environment = dict(pair.split("=", 1) for pair in pairs)
        return done.stdout


def shape(text: str) -> list[str]:
    """The lines of an output without what differs from run to run: run ids, moments, widths."""
    text = re.sub(r"\b(trip|poem|zoe)-[0-9a-f]{6}\b", r"\1", text)
    text = re.sub(r"\b(\d{4}-)?\d\d-\d\d \d\d:\d\d:\d\d\b", "moment", text)
    lines = (re.sub(r"─+", "─", re.sub(r"\s+", " ", line)).strip() for line in text.splitlines())
    return [line for line in lines if line]
