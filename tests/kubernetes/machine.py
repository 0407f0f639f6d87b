"""What a node changes of the machine that it runs on, and puts back."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.kubernetes.engine import run
from tests.waiting import NET_SECONDS

BRIDGES: Final = ("kube0", "cni0", "docker0")
FORWARDING: Final = Path("/proc/sys/net/ipv4/ip_forward")


@contextmanager
def as_it_was(directory: Path, path: str) -> Iterator[None]:
    """After the block, put back forwarding and iptables, and take away what a node leaves.

    Args:
        directory: of the node; nothing stays mounted below it.
        path: a PATH with iptables.
    """
    found = {"PATH": path}
    forwarding, spaces = FORWARDING.read_text(), _network_namespaces()
    rules = run(["iptables-save"], found)
    try:
        yield
    finally:
        _unmount(directory)
        FORWARDING.write_text(forwarding)
        for table in ("nat", "filter", "mangle"):
            for flag in ("-F", "-X"):
                run(["iptables", "-t", table, flag], found)
        run(["iptables-restore"], found, rules)
        # With their pods' ends of the bridge's wires.
        for name in _network_namespaces() - spaces:
            run(["ip", "netns", "delete", name])
        for bridge in BRIDGES:
            tried("ip", "link", "delete", bridge)


def tried(*command: str) -> None:
    """Do what may have been done before, or undo what may not be there any more."""
    subprocess.run(command, check=False, capture_output=True, timeout=NET_SECONDS)


def _network_namespaces() -> set[str]:
    return {line.split()[0] for line in run(["ip", "netns", "list"]).splitlines() if line}


def _unmount(directory: Path) -> None:
    """The deepest first: Secrets and volumes of pods, and the containers' own file systems."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in sorted((one for one in mounted if one.startswith(f"{directory}/")), reverse=True):
        tried("umount", "--lazy", place)
