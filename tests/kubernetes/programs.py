"""The programs of a Kubernetes, from package registries alone: built or unpacked once, kept.

etcd, the control plane and what runs on a node are built from their Go modules; what the node
needs beside them is Debian's. No image is pulled and nothing is installed.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.downloads.cache import kept
from tests.downloads.debian import MissingError

__all__ = ["VERSION", "MissingError", "built", "built_here", "compose", "etcd"]

VERSION: Final = "1.34.4"
"""The last minor that runs on version 1 of cgroups without a switch."""
ETCD: Final = "3.6.6"
COMPOSE: Final = "2.40.3"
BUILD_SECONDS: Final = 3600.0
_KUBERNETES: Final = "k8s.io/kubernetes"
_COMPOSE: Final = "github.com/docker/compose/v2"
_ETCD: Final = "go.etcd.io/etcd/server/v3"
_STAGED: Final = re.compile(r"^\s*(\S+) => \./staging/src/", re.MULTILINE)
_LANGUAGE_OF_OURS: Final = "go 1.24.0"
_LANGUAGE: Final = re.compile(r"^(?:go|godebug) .*$", re.MULTILINE)


def built(program: str) -> Path:
    """The path of a program of Kubernetes, such as `kube-apiserver`.

    The first one takes minutes and about a gigabyte of Go modules, the others seconds to a minute.

    Raises:
        MissingError: there is no Go, or it fails; the text says what it said.
    """
    # Without these it calls itself v0.0.0, which no chart's kubeVersion takes.
    said = {
        "gitVersion": f"v{VERSION}",
        "gitMajor": VERSION.split(".")[0],
        "gitMinor": VERSION.split(".")[1],
        "gitTreeState": "clean",
        "gitCommit": "module",
        "buildDate": "2026-01-01T00:00:00Z",
    }
    named = [f"-X k8s.io/component-base/version.{name}={text}" for name, text in said.items()]

    def fill(directory: Path) -> None:
        told = _go("mod", "download", "-json", f"{_KUBERNETES}@v{VERSION}", at=directory)
        release = Path(json.loads(told)["GoMod"]).read_text()
        # The release replaces its parts by folders that its zip lacks, and `go install` refuses a
        # module that replaces anything.
        lines = [f"replace {one} => {one} v0.{VERSION[2:]}" for one in _STAGED.findall(release)]
        lines += [*_LANGUAGE.findall(release), f"require {_KUBERNETES} v{VERSION}"]
        _build(f"{_KUBERNETES}/cmd/{program}", lines, directory / program, named)

    return kept(f"kubernetes-{VERSION}-{program}", fill) / program


def etcd() -> Path:
    """The path of etcd, the store of an API server; raises as `built` does."""

    def fill(directory: Path) -> None:
        lines = [_LANGUAGE_OF_OURS, f"require {_ETCD} v{ETCD}"]
        _build(_ETCD, lines, directory / "etcd", [])

    return kept(f"etcd-{ETCD}", fill) / "etcd"


def built_here(source: Path) -> Path:
    """The path of a program of this tree, built from the Go files of a directory."""
    files = sorted(source.glob("*.go"))
    content = b"".join(file.read_bytes() for file in files)
    name = f"{source.name}-{hashlib.sha256(content).hexdigest()[:8]}"

    def fill(directory: Path) -> None:
        out = directory / source.name
        _go("build", "-trimpath", "-o", str(out), *map(str, files), at=source)

    return kept(name, fill) / source.name


def compose() -> Path:
    """The path of Docker Compose, which Debian has only in its first version; raises as `built`."""

    def fill(directory: Path) -> None:
        lines = [_LANGUAGE_OF_OURS, f"require {_COMPOSE} v{COMPOSE}"]
        named = [f"-X {_COMPOSE}/internal.Version=v{COMPOSE}"]
        _build(f"{_COMPOSE}/cmd", lines, directory / "docker-compose", named)

    return kept(f"compose-{COMPOSE}", fill) / "docker-compose"


def _build(package: str, lines: list[str], program: Path, named: list[str]) -> None:
    """Build a package within a main module of our own, of these lines."""
    with tempfile.TemporaryDirectory() as name:
        Path(name, "go.mod").write_text("\n".join(["module local/program", *lines]) + "\n")
        flags = " ".join(["-s -w", *named])
        _go("build", "-trimpath", "-ldflags", flags, "-o", str(program), package, at=Path(name))


def _go(*arguments: str, at: Path) -> str:
    if not shutil.which("go"):
        raise MissingError("Kubernetes is built from its Go modules: install Go 1.24 or newer")
    environment = {"GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod"}
    done = subprocess.run(
        ["go", *arguments],
        cwd=at,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )
    if done.returncode:
        raise MissingError(f"go {arguments[0]} failed: {done.stderr[-1000:]}")
    return done.stdout
