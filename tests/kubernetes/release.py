"""The chart, installed as one release by Helm's own engine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import helm_python as helm

from tests.kubernetes.control_plane import ControlPlane

CHART: Final = Path(__file__).parents[2] / "charts" / "billing-stream"
TIMEOUT_SECONDS: Final = 600
Values = Mapping[str, Any]


class Release:
    """A release in a namespace.

    Each method raises `helm.HelmError` as the command of its name would fail.

    Args:
        plane: the Kubernetes.
        namespace: an existing one.
        name: of the release.
    """

    def __init__(self, plane: ControlPlane, namespace: str, name: str = "live") -> None:
        self._config = helm.Config(
            kubeconfig_path=str(plane.kubeconfig()), namespace=namespace, qps=100, burst_limit=200
        )
        self._namespace = namespace
        self.name = name

    def install(self, values: Values, *, wait: bool = False, timeout: int | None = None) -> None:
        """`helm install`; waits for its hooks, and with `wait` for the pods."""
        options = self._options(wait=wait, timeout=timeout)
        self._config.install(CHART, self.name, dict(values), namespace=self._namespace, **options)

    def upgrade(
        self,
        values: Values,
        *,
        wait: bool = False,
        timeout: int | None = None,
    ) -> None:
        """`helm upgrade`; waits as `install` does."""
        options = self._options(wait=wait, timeout=timeout)
        self._config.upgrade(CHART, self.name, dict(values), namespace=self._namespace, **options)

    def rollback(self, revision: int, *, wait: bool = False) -> None:
        """`helm rollback`."""
        self._config.rollback(self.name, version=revision, **self._options(wait=wait, timeout=None))

    def uninstall(self, *, wait: bool = False) -> None:
        """`helm uninstall`."""
        self._config.uninstall(self.name, **self._options(wait=wait, timeout=None))

    def test(self, timeout: int = TIMEOUT_SECONDS) -> None:
        """`helm test`."""
        self._config.test(self.name, timeout=timeout)

    def history(self) -> list[tuple[int, str]]:
        """Each revision's number and status."""
        return [(one["revision"], one["status"]) for one in self._config.history(self.name)]

    def close(self) -> None:
        """Let go of what Helm keeps."""
        self._config.close()

    def _options(self, *, wait: bool, timeout: int | None) -> dict[str, Any]:
        return {
            "timeout": timeout or TIMEOUT_SECONDS,
            **({"wait": "watcher"} if wait else {}),
        }
