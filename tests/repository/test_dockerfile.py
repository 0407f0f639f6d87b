"""The image: what goes in, who runs it, and that its pins are the project's own."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.processes.compiled import ROOMS, modules
from tests.waiting import NET_SECONDS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


def stage(dockerfile: str, name: str) -> str:
    """The instructions of one stage."""
    stages = re.split(r"^FROM \S+ AS (\S+)\n", dockerfile, flags=re.MULTILINE)
    return dict(zip(stages[1::2], stages[2::2], strict=True))[name]


def uv_of_the_makefile() -> str:
    """The version of uv that a checkout installs."""
    makefile = re.search(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert makefile is not None
    return makefile[1]


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint is not None
    done = subprocess.run(
        [hadolint, "--failure-threshold", "ignore", "Dockerfile"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=NET_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_plain_build_makes_the_rooms(dockerfile: str) -> None:
    names = re.findall(r"^FROM \S+ AS (\S+)$", dockerfile, re.MULTILINE)
    assert names[-1] == "rooms"
    assert 'ENTRYPOINT ["python", "-m"]' in stage(dockerfile, "rooms")


def test_everything_runs_as_a_numeric_user_that_is_not_root(dockerfile: str) -> None:
    for name in ("rooms", "litellm"):
        user = re.findall(r"^USER (\d+):(\d+)$", stage(dockerfile, name), re.MULTILINE)
        assert user, f"{name}: Kubernetes cannot tell that a named user is not root"
        assert all(int(part) > 0 for part in user[-1])


def test_only_the_lock_decides_what_is_installed(dockerfile: str) -> None:
    assert "uv sync --locked --no-default-groups --group tracing\n" in stage(
        dockerfile, "dependencies"
    )
    assert "uv sync --locked --only-group litellm\n" in stage(dockerfile, "litellm-dependencies")
    assert "uv sync --locked --no-default-groups --group compiler\n" in stage(
        dockerfile, "compiled"
    )
    installed = re.findall(r"(?:pip install|uv add|uv pip|apt-get).*", dockerfile)
    assert set(installed) == {
        f"pip install --no-cache-dir --disable-pip-version-check uv=={uv_of_the_makefile()}"
    }


def test_uv_is_the_one_of_the_makefile(dockerfile: str) -> None:
    assert set(re.findall(r"\buv==(\S+)", dockerfile)) == {uv_of_the_makefile()}


def test_python_is_one_that_the_project_supports(dockerfile: str) -> None:
    images = set(re.findall(r"^FROM (python:\S+)", dockerfile, re.MULTILINE))
    assert images == {"python:3.11-slim-trixie", "python:3.11-trixie"}, "one Python, one Debian"
    assert "UV_PYTHON_DOWNLOADS=never" in dockerfile
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"].startswith(">=3.11")


def test_the_label_carries_the_version_of_the_project(dockerfile: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"ARG VERSION={project['version']}\n" in dockerfile


def test_the_chart_runs_the_version_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    chart = (ROOT / "charts" / "billing-stream" / "Chart.yaml").read_text()
    assert f"\nappVersion: {project['version']}\n" in chart


def test_only_the_rooms_go_in(dockerfile: str) -> None:
    copied = re.findall(r"^COPY (?!--from)(.+)$", stage(dockerfile, "rooms"), re.MULTILINE)
    assert copied == ["LICENSE billing ./", *(f"{r} {r}" for r in ROOMS)]
    context = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in context if line and not line.startswith("#")]
    allowed = {line.removeprefix("!") for line in rules if line.startswith("!")}
    assert rules[0] == "*"
    assert allowed == {
        "LICENSE",
        "billing",
        "pyproject.toml",
        "uv.lock",
        "deploy/compile.py",
        *ROOMS,
    }
    assert "schemas/examples" in rules, "captured callbacks do not belong in the image"


def test_bytecode_is_written_while_the_file_system_is_writable(dockerfile: str) -> None:
    rooms = stage(dockerfile, "rooms")
    assert "UV_COMPILE_BYTECODE=1" in dockerfile
    compiled = rooms.index(f"python -m compileall -q {' '.join(ROOMS)}")
    assert compiled < rooms.index("USER ")
    assert "PYTHONDONTWRITEBYTECODE=1" in rooms


def test_the_image_has_the_compiled_modules_beside_their_source(dockerfile: str) -> None:
    compiled, rooms = stage(dockerfile, "compiled"), stage(dockerfile, "rooms")
    assert "RUN .venv/bin/python deploy/compile.py /compiled\n" in compiled
    packages = {module.partition("/")[0] for module in modules()}
    assert packages <= set(re.findall(r"^COPY (\S+) \1$", compiled, re.MULTILINE))
    beside = rooms.index("COPY --from=compiled /compiled ./\n")
    assert all(rooms.index(f"COPY {package} {package}\n") < beside for package in packages)
    assert "WORKDIR /app\n" in rooms[:beside]


def test_the_operators_command_is_on_the_path_of_the_image(dockerfile: str) -> None:
    rooms = stage(dockerfile, "rooms")
    assert "PATH=/app/.venv/bin:/app:$PATH" in rooms
    assert "WORKDIR /app\n" in rooms
    assert os.access(ROOT / "billing", os.X_OK)
    # From any directory, as in the image: the script finds what stands beside it.
    done = subprocess.run(
        [ROOT / "billing", "--help"],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=NET_SECONDS,
        check=True,
    )
    assert done.stdout.startswith("Usage: billing ")
