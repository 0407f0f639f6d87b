"""The API of a Kubernetes, as JSON: what tests read of it and do to it."""

import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from tests.waiting import NET_SECONDS

Manifest = dict[str, Any]
GROUPS: Final = {
    "persistentvolumes": "api/v1",
    "pods": "api/v1",
    "secrets": "api/v1",
    "serviceaccounts": "api/v1",
    "services": "api/v1",
    "deployments": "apis/apps/v1",
    "statefulsets": "apis/apps/v1",
    "jobs": "apis/batch/v1",
    "horizontalpodautoscalers": "apis/autoscaling/v2",
    "poddisruptionbudgets": "apis/policy/v1",
    "ingresses": "apis/networking.k8s.io/v1",
    "networkpolicies": "apis/networking.k8s.io/v1",
    "storageclasses": "apis/storage.k8s.io/v1",
}
"""By the plural of a kind: where the API has it."""
_APPLY: Final = "application/apply-patch+yaml"
_MERGE: Final = "application/merge-patch+json"


class RefusedError(Exception):
    """The API refused a request; the text is its reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status


def asking(url: str, token: str, authority: Path) -> httpx.Client:
    """A client of an API server; the caller closes it.

    Args:
        url: of the server.
        token: of the one who asks.
        authority: file with the certificate that the server is checked against.
    """
    return httpx.Client(
        base_url=url,
        headers={"Authorization": f"Bearer {token}"},
        verify=ssl.create_default_context(cafile=str(authority)),
        trust_env=False,
        timeout=NET_SECONDS,
    )


def plural(kind: str) -> str:
    """The name that a kind has in paths of the API."""
    name = kind.lower()
    if name.endswith("y"):
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith("s") else f"{name}s"


class Api:
    """One namespace of a Kubernetes.

    Args:
        http: asks its server.
        namespace: whose objects are meant.
    """

    def __init__(self, http: httpx.Client, namespace: str = "default") -> None:
        self._http = http
        self.namespace = namespace

    def within(self, namespace: str) -> "Api":
        """The same for another namespace."""
        return Api(self._http, namespace)

    def ready(self) -> bool:
        """Whether the server says that it is."""
        try:
            return self._http.get("/readyz").is_success
        except httpx.TransportError:
            return False

    def get(self, kind: str, name: str) -> Manifest:
        """One object. Raises `RefusedError`, with status 404 where there is none."""
        return self._asked("GET", self._path(kind, name))

    def listed(self, kind: str, labels: str = "") -> list[Manifest]:
        """All objects of a kind, or those with the labels."""
        query = {"labelSelector": labels} if labels else {}
        items: list[Manifest] = self._asked("GET", self._path(kind), query)["items"]
        return items

    def names(self, kind: str) -> set[str]:
        """The names of all objects of a kind."""
        return {item["metadata"]["name"] for item in self.listed(kind)}

    def apply(self, manifest: Manifest, manager: str = "tests", *, dry: bool = False) -> Manifest:
        """Server-side apply, strictly validated. Raises `RefusedError`.

        Args:
            manifest: a whole object.
            manager: who owns the fields that it names.
            dry: check everything, also by admission, and keep nothing.
        """
        query = {"fieldManager": manager, "fieldValidation": "Strict", "force": "true"}
        query |= {"dryRun": "All"} if dry else {}
        path = self._path(plural(manifest["kind"]), manifest["metadata"]["name"])
        return self._asked("PATCH", path, query, yaml.safe_dump(manifest), _APPLY)

    def merge(self, kind: str, name: str, patch: Manifest, part: str = "") -> Manifest:
        """Change fields of an object, or of a part of it such as `status` or `scale`."""
        path = self._path(kind, name) + (f"/{part}" if part else "")
        return self._asked("PATCH", path, {}, json.dumps(patch), _MERGE)

    def scale(self, kind: str, name: str, replicas: int) -> None:
        """What `kubectl scale` and autoscalers do."""
        self.merge(kind, name, {"spec": {"replicas": replicas}}, "scale")

    def delete(self, kind: str, name: str, **options: object) -> None:
        """Delete an object; `propagationPolicy` and `gracePeriodSeconds` as the API has them."""
        self._asked("DELETE", self._path(kind, name), {}, yaml.safe_dump(options))

    def evict(self, pod: str) -> None:
        """Ask a pod to leave, as a drain does. Raises `RefusedError`: 429, its budget forbids."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": self.namespace},
        }
        path = f"{self._path('pods', pod)}/eviction"
        self._asked("POST", path, {}, yaml.safe_dump(body), "application/yaml")

    def _path(self, kind: str, name: str = "") -> str:
        group = GROUPS.get(kind, "api/v1")
        whole = kind in {"namespaces", "nodes", "persistentvolumes", "storageclasses"}
        within = "" if whole else f"namespaces/{self.namespace}/"
        return f"/{group}/{within}{kind}" + (f"/{name}" if name else "")

    def _asked(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: str = "",
        content: str = "application/yaml",
    ) -> Manifest:
        headers = {"Content-Type": content} if body else {}
        answer = self._http.request(method, path, params=query, content=body, headers=headers)
        if not answer.is_success:
            raise RefusedError(answer.status_code, answer.text)
        told: Manifest = answer.json()
        return told
