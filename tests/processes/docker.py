"""Whether containers can be had: where a Docker engine answers."""

import shutil
import subprocess


def engine_answers() -> bool:
    """Whether a Docker engine answers the docker command within five seconds."""
    if shutil.which("docker") is None:
        return False
    try:
        asked = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            check=False,
            timeout=5,
        )
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0
