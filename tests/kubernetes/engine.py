"""containerd and a Docker engine from Debian's packages, and images that are made on this machine.

Needs root. Nothing is installed and nothing pulled: the base image is laid out by debootstrap.
"""

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from tests.downloads.cache import kept
from tests.downloads.debian import unpacked
from tests.kubernetes.programs import built_here
from tests.processes.process import Server
from tests.waiting import NET_SECONDS, eventually

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = (
    *("containerd", "runc", "containernetworking-plugins", "docker.io"),
    *("iptables", "conntrack", "ipset"),
)
IPTABLES: Final = "xtables-nft-multi"
NAMED: Final = (
    *("iptables", "iptables-save", "iptables-restore"),
    *("ip6tables", "ip6tables-save", "ip6tables-restore"),
)
"""Of these, Debian has one program; its installation gives it their names."""
PYTHON: Final = "python:3.11-slim-trixie"
BUILDING: Final = "python:3.11-trixie"
"""The same with a C compiler."""
SUITE: Final = "bookworm"
"""Whose Python is 3.11, as the image's."""
ADDED: Final = ("python3", "python3-pip", "python3-venv", "python-is-python3", "ca-certificates")
COMPILER: Final = ("gcc", "libc6-dev", "python3-dev")
AUTHORITIES: Final = Path("etc/ssl/certs/ca-certificates.crt")
PAUSE: Final = "localhost/pause:1"
IMAGE: Final = "localhost/billing-stream"
CONFIGURATION: Final = """\
version = 2
root = "{directory}/containerd"
state = "{directory}/containerd-state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Without CAP_SYS_RESOURCE nobody may lower it.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{directory}/cni"
"""


class CommandError(RuntimeError):
    """A command failed; the text says which, and what it said."""


def run(command: list[str], environment: dict[str, str] | None = None, said: str = "") -> str:
    """Run a command and return what it printed. Raises `CommandError`."""
    done = subprocess.run(
        command,
        env=os.environ | (environment or {}),
        input=said,
        capture_output=True,
        text=True,
        check=False,
        timeout=3 * NET_SECONDS,
    )
    if done.returncode:
        raise CommandError(f"{shlex.join(command)[:300]} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def tools(directory: Path) -> Path:
    """A directory for the PATH with all programs of `PACKAGES`, each with its libraries.

    Raises:
        MissingError: one cannot be had.
    """
    made = directory / "bin"
    made.mkdir(exist_ok=True)
    roots = [unpacked(package, libraries=True) / "usr" for package in PACKAGES]
    libraries = [str(one) for root in roots for one in root.glob("lib/*-linux-gnu")]
    wrapped = f"LD_LIBRARY_PATH={':'.join(libraries)}"
    found = [file for root in roots for at in ("bin", "sbin") for file in root.glob(f"{at}/*")]
    programs = {file.name: str(file) for file in found if not file.is_symlink()}
    plugins = next(one for library in libraries for one in Path(library).glob("xtables"))
    programs |= {name: f"{programs[IPTABLES]} {name}" for name in NAMED}
    for name, command in programs.items():
        script = made / name
        lines = ["#!/bin/sh", f"export {wrapped} XTABLES_LIBDIR={plugins}", f'exec {command} "$@"']
        script.write_text("\n".join(lines) + "\n")
        script.chmod(0o755)
    return made


@dataclass(frozen=True)
class Engine:
    """A Docker engine and the containerd below it."""

    directory: Path
    path: str
    """With the tools first."""

    @property
    def containerd(self) -> str:
        """The socket of containerd."""
        return str(self.directory / "containerd.sock")

    @property
    def host(self) -> str:
        """What DOCKER_HOST is."""
        return f"unix://{self.directory}/docker.sock"

    def docker(self, *arguments: str) -> str:
        """Run the docker command with this engine. Raises `CommandError`."""
        found = {"PATH": self.path, "DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "1"}
        # Debian's client: it knows BuildKit by itself.
        return run([str(self.directory / "bin" / "docker"), *arguments], found)

    def ctr(self, *arguments: str) -> str:
        """Run containerd's own command in the namespace of a kubelet. Raises `CommandError`."""
        command = [str(self.directory / "bin" / "ctr"), "--address", self.containerd]
        return run([*command, "--namespace", "k8s.io", *arguments], {"PATH": self.path})

    def build(self, tag: str, *options: str) -> str:
        """Build the project's Dockerfile, unchanged; returns the image's name."""
        name = f"{IMAGE}:{tag}"
        self.docker("build", "--network", "host", *options, "--tag", name, str(ROOT))
        return name

    def give(self, *names: str) -> None:
        """Let a kubelet of this machine have images."""
        archive = self.directory / "images.tar"
        self.docker("save", "--output", str(archive), *names)
        self.ctr("images", "import", str(archive))
        archive.unlink()


def _base(added: tuple[str, ...], directory: Path) -> None:
    """Fill a directory with the archive of an image that has Python, pip, and these packages."""
    tree = directory / "tree"
    packed = unpacked("debootstrap") / "usr"
    environment = {"DEBOOTSTRAP_DIR": str(packed / "share" / "debootstrap")}
    command = [str(packed / "sbin" / "debootstrap"), "--variant=minbase"]
    run([*command, f"--include={','.join(added)}", SUITE, str(tree)], environment)
    for marker in tree.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        marker.unlink()
    # A network that inspects TLS has an authority of its own.
    shutil.copy(Path("/") / AUTHORITIES, tree / AUTHORITIES)
    left_out = [f"--exclude=./{one}/*" for one in ("proc", "sys", "dev", "var/cache/apt/archives")]
    archive = directory / "python.tar"
    run(["tar", "-C", str(tree), *left_out, "-cf", str(archive), "."])
    for mounted in ("proc", "sys"):
        subprocess.run(["umount", str(tree / mounted)], check=False, capture_output=True)
    shutil.rmtree(tree)


def _images(engine: Engine) -> None:
    bases = {
        PYTHON: kept("debian-python-image", partial(_base, ADDED)),
        BUILDING: kept("debian-python-compiler-image", partial(_base, (*ADDED, *COMPILER))),
    }
    trusted = [f"ENV {name}=/{AUTHORITIES}" for name in ("SSL_CERT_FILE", "PIP_CERT")]
    changes = [part for line in trusted for part in ("--change", line)]
    for name, base in bases.items():
        engine.docker("import", *changes, str(base / "python.tar"), name)
    pause = built_here(Path(__file__).with_name("pause"))
    archive = engine.directory / "pause.tar"
    run(["tar", "-C", str(pause.parent), "-cf", str(archive), pause.name])
    engine.docker("import", "--change", f'ENTRYPOINT ["/{pause.name}"]', str(archive), PAUSE)
    engine.give(PAUSE)


def _up(server: Server, asked: Callable[[str], str]) -> bool:
    server.check()
    try:
        return bool(asked("version"))
    except CommandError:
        return False


@contextmanager
def running_engine(directory: Path) -> Iterator[Engine]:
    """Start containerd and a Docker engine, with the base images, for as long as the block.

    Args:
        directory: keeps images, containers and logs. Its path must be short: sockets are in it.

    Raises:
        CommandError: an image cannot be made.
        MissingError: a program cannot be had.
        ServerError: one of them ended.
    """
    path = f"{tools(directory)}:{os.environ['PATH']}"
    engine = Engine(directory, path)
    plugins = unpacked("containernetworking-plugins", libraries=True) / "usr" / "lib" / "cni"
    configured = directory / "containerd.toml"
    configured.write_text(
        CONFIGURATION.format(
            directory=directory, socket=engine.containerd, pause=PAUSE, plugins=plugins
        )
    )
    containerd = ["containerd", "--config", str(configured)]
    dockerd = ["dockerd", "--containerd", engine.containerd, "--host", engine.host]
    dockerd += ["--data-root", str(directory / "docker"), "--bip", "172.30.0.1/24"]
    dockerd += ["--exec-root", str(directory / "docker-state")]
    dockerd += ["--pidfile", str(directory / "docker.pid")]
    environment = os.environ | {"PATH": path}
    with ExitStack() as stack:
        for command in (containerd, dockerd):
            log = directory / f"{command[0]}.log"
            found = str(directory / "bin" / command[0])
            server = Server(command[0], [found, *command[1:]], log, env=environment)
            server.start()
            stack.callback(server.stop)
            asked = engine.ctr if command is containerd else engine.docker
            eventually(partial(_up, server, asked), command[0], NET_SECONDS)
        _images(engine)
        yield engine
