"""Writes `call-types.json`: the call types that LiteLLM's releases can send.

    python -m docs.call_types PATH...

Each path is a release's package directory, the oldest first, such as
`.venv-litellm/lib/python3.11/site-packages/litellm`. A call type is a value of LiteLLM's own
`CallTypes`, or the name of a function that its `client` decorator reports, of which some are in no
list of its own.
"""

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

FILE: Final = Path(__file__).with_name("call-types.json")


def committed() -> dict[str, list[str]]:
    """Return the call types by the release of these in which they are first."""
    found: dict[str, list[str]] = json.loads(FILE.read_text("utf-8"))
    return found


def call_types(package: Path) -> set[str]:
    """Return the call types of one release, read from its source without running any of it."""
    listed = ast.parse((package / "types" / "utils.py").read_text("utf-8"))
    names = {name for node in ast.walk(listed) for name in _values(node)}
    for file in package.rglob("*.py"):
        if "@client" in (text := file.read_text("utf-8")):
            names.update(_reported(ast.parse(text)))
    return names


def version(package: Path) -> str:
    """Return the release of an installed package."""
    (metadata,) = package.parent.glob("litellm-[0-9]*.dist-info")
    return metadata.name.removeprefix("litellm-").removesuffix(".dist-info")


def _values(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.ClassDef) and node.name == "CallTypes":
        for line in node.body:
            if isinstance(line, ast.Assign) and isinstance(line.value, ast.Constant):
                yield str(line.value.value)


def _reported(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(
            _is_client(decorator) for decorator in node.decorator_list
        ):
            yield node.name


def _is_client(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Name) and decorator.id == "client"


def main() -> None:
    """Write the call types of the releases whose packages are named."""
    known, releases = set[str](), dict[str, list[str]]()
    for path in sys.argv[1:]:
        found = call_types(Path(path))
        releases[version(Path(path))] = sorted(found - known)
        known |= found
    FILE.write_text(json.dumps(releases, indent=2) + "\n", "utf-8")
    print(f"wrote {FILE.name}: {len(known)} call types")  # noqa: T201 - a command's output


if __name__ == "__main__":
    main()
