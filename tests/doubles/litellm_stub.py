"""What stands in for LiteLLM where the plugin of the spend guard is loaded without it."""

import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Final
from unittest.mock import patch

from prometheus_client import REGISTRY

PLUGIN: Final = Path(__file__).parents[2] / "deploy" / "litellm" / "spend_guard.py"
ENVIRONMENT: Final = {"SPEND_GUARD_URL": "http://guard.test", "SPEND_GUARD_TOKEN": "of-the-tests"}


class Router:
    """The deployments of a proxy, by model group."""

    def __init__(self) -> None:
        self.deployments: dict[str, list[dict[str, Any]]] = {}

    def get_model_list(self, model_name: str) -> list[dict[str, Any]] | None:
        """Return the deployments of a group, None where there is none."""
        return self.deployments.get(model_name)


def _modules(prices: Mapping[str, dict[str, Any]], router: Router) -> dict[str, ModuleType]:
    def get_model_info(model: str) -> dict[str, Any]:
        return prices[model]

    def token_counter(model: str, text: str) -> int:
        assert model
        return len(text.split())

    contents: dict[str, dict[str, object]] = {
        "litellm": {"token_counter": token_counter, "get_model_info": get_model_info},
        "litellm.integrations": {},
        "litellm.integrations.custom_logger": {"CustomLogger": type("CustomLogger", (), {})},
        "litellm.proxy": {},
        "litellm.proxy.proxy_server": {"llm_router": router},
    }
    modules = dict[str, ModuleType]()
    for name, content in contents.items():
        modules[name] = ModuleType(name)
        vars(modules[name]).update(content)
    return modules


@contextmanager
def loaded(prices: Mapping[str, dict[str, Any]], router: Router) -> Iterator[Any]:
    """The plugin's module, as a proxy loads it from its file, with the settings that it needs.

    Args:
        prices: what LiteLLM's list says of models.
        router: the proxy's deployments.
    """
    modules = _modules(prices, router)
    assert not modules.keys() & sys.modules.keys()
    sys.modules.update(modules)
    module: Any = None
    try:
        spec = importlib.util.spec_from_file_location("spend_guard_plugin", PLUGIN)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        with patch.dict(os.environ, ENVIRONMENT):
            spec.loader.exec_module(module)
        yield module
    finally:
        # The next one registers it again.
        if module is not None and module.OUTCOMES is not None:
            REGISTRY.unregister(module.OUTCOMES)
        for name in modules:
            del sys.modules[name]


def caller(**fields: object) -> SimpleNamespace:
    """What a proxy knows of who calls; all else is None, as in its own class."""
    names = ("end_user_id", "key_alias", "api_key", "org_id", "project_id", "team_id", "user_id")
    return SimpleNamespace(**{**dict.fromkeys(names), **fields})
