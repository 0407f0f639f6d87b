"""Writes the pinned extract of LiteLLM's price table: `python -m docs.price_table [PACKAGE]`.

PACKAGE is an installed `litellm`; by default the locked one, which `make demo` installs. Amounts
keep the digits that LiteLLM's file has.
"""

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from reconciler.prices.table import PINNED, PRICE

ROOT: Final = Path(__file__).parents[1]
FILE: Final = "model_prices_and_context_window_backup.json"
PROVIDERS: Final = (
    "anthropic", "azure", "bedrock", "cohere", "deepseek", "gemini", "groq", "mistral", "openai",
    "text-completion-openai", "vertex_ai", "xai",
)  # fmt: skip
"""Beginnings of LiteLLM's names of the providers whose models are kept."""
MODES: Final = frozenset({"chat", "completion", "responses", "embedding"})
"""What is priced by tokens."""


class _Digits(str):
    """A number as it is written."""

    __slots__ = ()


def extract(package: Path, version: str, date: str) -> dict[str, Any]:
    """Return the extract of a package's table; `date` is when that release was published."""
    text = (package / FILE).read_text("utf-8")
    found = json.loads(text, parse_float=_Digits)
    models = {
        name: {key: one for key, one in entry.items() if PRICE.fullmatch(key)}
        for name, entry in sorted(found.items())
        if entry.get("mode") in MODES
        and str(entry.get("litellm_provider")).startswith(PROVIDERS)
        and float(entry.get("input_cost_per_token") or 0) > 0
    }
    return {"litellm": version, "published": date, "models": models}


def locked() -> tuple[str, str]:
    """Return the version of LiteLLM that is locked, and the day on which it was published."""
    packages = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]
    [one] = [package for package in packages if package["name"] == "litellm"]
    # As text and as a time: uv writes the one, a reader of TOML may make the other.
    return one["version"], re.split("[T ]", str(one["sdist"]["upload-time"]))[0]


def packages() -> Iterator[Path]:
    """Yield the locked package where it is installed."""
    yield from ROOT.glob(".venv-litellm/lib/python*/site-packages/litellm")


def written(found: dict[str, Any]) -> str:
    """Return an extract as the text of its file: a model a line."""
    lines = [f"{json.dumps(name)}: {json.dumps(one)}" for name, one in found["models"].items()]
    head = {key: one for key, one in found.items() if key != "models"}
    return f'{json.dumps(head)[:-1]}, "models": {{\n' + ",\n".join(lines) + "\n}}\n"


if __name__ == "__main__":
    PINNED.write_text(
        written(extract(Path(sys.argv[1]) if sys.argv[1:] else next(packages()), *locked())),
        "utf-8",
    )
    sys.stdout.write(f"wrote {PINNED.relative_to(ROOT)}\n")
