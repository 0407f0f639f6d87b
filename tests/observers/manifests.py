"""Commands that need Docker or a cluster, held against the files that they would use."""

import re
import shlex
import subprocess
import sys
import tomllib
from collections import Counter
from functools import cache
from typing import Any

import helm_python as helm
import yaml

from tests.kubernetes.chart import documents
from tests.observers.pages import ROOT, Command, Shell, commands


@cache
def compose() -> dict[str, Any]:
    """The compose file, which follows the Compose specification."""
    schema = ("--builtin-schema", "vendor.compose-spec", "docker-compose.yml")
    subprocess.run([sys.executable, "-m", "check_jsonschema", *schema], cwd=ROOT, check=True)
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return found


def composed(stack: Shell, command: Command) -> None:
    """Profiles, services and variables are those of the file; the room's command runs."""
    words = shlex.split(command.text)
    variables = words[: words.index("docker")]
    words = words[words.index("docker") + 2 :]
    text = (ROOT / "docker-compose.yml").read_text()
    assert all("${" + variable.partition("=")[0] in text for variable in variables)
    services = compose()["services"]
    while words[0] == "--profile":
        assert any(words[1] in service.get("profiles", []) for service in services.values())
        words = words[2:]
    known = {"up": {"--build", "--detach"}, "down": {"--volumes"}, "ps": set(), "exec": set()}
    options = set() if words[0] == "exec" else {word for word in words if word.startswith("--")}
    assert options <= known[words[0]], command.text
    arguments = [word for word in words[1:] if word not in options]
    if words[0] == "exec":
        assert arguments[0] in services
        # The image has it on its path.
        stack.run(shlex.join([f"./{arguments[1]}", *arguments[2:]]))
    else:
        assert not arguments, command.text


def image(stack: Shell, command: Command) -> None:
    """The Dockerfile is there, the tag is this version's, and the room's command runs."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for part in command.text.split(" && "):
        words = shlex.split(part)[1:]
        name = next(word for word in words if "billing-stream:" in word)
        assert name.endswith(f"billing-stream:{version}")
        if words[0] == "run":
            assert 'ENTRYPOINT ["python", "-m"]' in (ROOT / "Dockerfile").read_text()
            arguments = words[words.index(name) + 1 :]
            stack.run(shlex.join([".venv/bin/python", "-m", *arguments]))
        else:
            assert words[0] in {"build", "push"}
            assert (ROOT / "Dockerfile").exists()


def rendered(command: Command) -> list[dict[str, Any]]:
    """What `helm install` or `helm upgrade --install` would send to the cluster."""
    words = shlex.split(command.text.replace("upgrade --install --timeout 15m", "install"))
    assert words[:2] == ["helm", "install"]
    values: dict[str, Any] = {}
    for option, setting in zip(words[4::2], words[5::2], strict=True):
        assert option == "--set", command.text
        path, _, value = setting.partition("=")
        *parents, leaf = path.split(".")
        part = values
        for parent in parents:
            part = part.setdefault(parent, {})
        part[leaf] = value
    with helm.Chart.load(ROOT / words[3]) as chart:
        return documents(chart.render(values, name=words[2], namespace="default"))


def charted(_: Shell, command: Command) -> None:
    """Helm's engine renders the rooms, the jobs before them and the self-test with these values."""
    kinds = Counter(document["kind"] for document in rendered(command))
    assert kinds["StatefulSet"] + kinds["Deployment"] == 2
    assert kinds["Job"] == 3


def secret(_: Shell, command: Command) -> None:
    """The chart, installed as the page says, reads this key of this Secret."""
    words = shlex.split(command.text)
    assert words[:4] == ["kubectl", "create", "secret", "generic"]
    key = words[5].removeprefix("--from-literal=").partition("=")[0]
    (install,) = [c for c in commands("docs/kubernetes.md") if c.text.startswith("helm ")]
    reads = re.findall(r"'secretKeyRef': ({[^}]*})", str(rendered(install)))
    assert any(f"'{words[4]}'" in read and f"'{key}'" in read for read in reads), command.text
