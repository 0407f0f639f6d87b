"""Writes what is generated: JSON Schemas, OpenAPI and AsyncAPI, two pages, the dashboards.

`make schemas` runs it; a test fails when a committed file differs from what it would write.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, get_args, get_origin

import msgspec
from annotated_types import Ge, Gt, Le, MinLen
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

import consumer.settings
import demo.settings
import operator_cli.settings
import producer_gateway.settings
import reconciler.settings
import spend_guard.settings
from charging.call_shape import Shape, shape_of
from docs import dashboards
from docs.asyncapi import asyncapi
from docs.call_types import committed
from docs.event_types import event_types
from schemas.callback import ALSO, Callback, Cost
from schemas.checkpoint import Checkpoint
from schemas.correction import Correction
from schemas.credits import CreditEvent
from schemas.receipt import Receipt
from schemas.run_total import RunTotal
from schemas.usage import UsageUnit

ROOT: Final = Path(__file__).resolve().parent.parent
MODELS: Final[dict[str, type[BaseModel] | type[msgspec.Struct]]] = {
    "callback": Callback,
    "checkpoint": Checkpoint,
    "correction": Correction,
    "credit-event": CreditEvent,
    "receipt": Receipt,
    "run-total": RunTotal,
    "usage-unit": UsageUnit,
}
EVENTS: Final = (
    "receipt", "correction", "checkpoint", "run-total", "credit-event", "usage-unit",
)  # fmt: skip
"""What others read or write by these schemas; callbacks are LiteLLM's."""
_PRIVATE_FORMATS: Final = ("decimal",)
ROOMS: Final[dict[str, tuple[str, type[BaseSettings]]]] = {
    "Gateway": ("python -m producer_gateway", producer_gateway.settings.Settings),
    "Consumer": ("python -m consumer run", consumer.settings.Settings),
    "Reconciler": ("python -m reconciler", reconciler.settings.Settings),
    "Spend guard": ("python -m spend_guard run", spend_guard.settings.Settings),
    "By hand": ("billing", operator_cli.settings.Settings),
    "Embedded stack": ("make up, make demo", demo.settings.StackSettings),
}


def schema(model: type[BaseModel] | type[msgspec.Struct]) -> str:
    """Return the JSON Schema (draft 2020-12) of `model` as a reader of the wire sees it."""
    if issubclass(model, BaseModel):
        described = model.model_json_schema(mode="validation")
    else:
        (_,), parts = msgspec.json.schema_components(
            [model], schema_hook=_own_type, ref_template="#/$defs/{name}"
        )
        described = parts.pop(model.__name__) | {"$defs": parts}
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(document | _standard(described), indent=2) + "\n"


def _own_type(kind: type) -> dict[str, Any]:
    if kind is not Cost:
        raise NotImplementedError
    # A text is no money, but refuses nothing: the call is deferred.
    return {"type": "number", ALSO: ["string"]}


def _standard(node: Any) -> Any:  # noqa: ANN401 - JSON
    """Say in words of JSON Schema what is not said so, and leave out formats of a library's own.

    Strict validators refuse what they do not know.
    """
    if isinstance(node, list):
        return [_standard(value) for value in node]
    if not isinstance(node, dict):
        return node
    told = {key: _standard(value) for key, value in node.items() if key != ALSO}
    if told.get("format") in _PRIVATE_FORMATS:
        del told["format"]
    if ALSO in node:
        # Not a list of types, of which strict validators warn.
        told["anyOf"] = [{"type": kind} for kind in (told.pop("type"), *node[ALSO])]
    if "anyOf" in told:
        parts = [one["anyOf"] if one.keys() == {"anyOf"} else [one] for one in told["anyOf"]]
        told["anyOf"] = [one for part in parts for one in part]
    return told


def _type(annotation: object) -> str:
    if get_origin(annotation) is Literal:
        return " \\| ".join(f"`{choice}`" for choice in get_args(annotation))
    if isinstance(annotation, UnionType):
        return " or ".join(_type(a) for a in get_args(annotation) if a is not NoneType)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " \\| ".join(f"`{choice.value}`" for choice in annotation)
    if get_origin(annotation) is tuple:
        return "comma-separated list"
    if annotation is SecretStr:
        return "secret text"
    names = {"str": "text", "int": "integer", "float": "number", "Decimal": "decimal"}
    name = str(getattr(annotation, "__name__", annotation))
    return names.get(name, name.lower())


def _bounds(field: FieldInfo) -> str:
    signs = []
    for part in field.metadata:
        match part:
            case Ge(bound):
                signs.append(f"≥ {bound}")
            case Gt(bound):
                signs.append(f"> {bound}")
            case Le(bound):
                signs.append(f"≤ {bound}")
            case MinLen(1):
                signs.append("not empty")
    return f" ({', '.join(signs)})" if signs else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    default = field.default
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if default is None or default in ("", ()):
        return ""
    if isinstance(default, Enum):
        default = default.value
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    return f"`{default}`"


def configuration() -> str:
    """Return the page of all settings, one table a room."""
    lines = [
        "# Configuration",
        "",
        "Every setting is an environment variable. `make schemas` writes this page from the",
        "settings classes: change those, not this page.",
    ]
    for room, (command, settings) in ROOMS.items():
        lines += ["", f"## {room} (`{command}`)", ""]
        lines += ["| variable | type | default | meaning |", "| --- | --- | --- | --- |"]
        for name, field in settings.model_fields.items():
            variable = (field.alias or name).upper()
            kind = _type(field.annotation) + _bounds(field)
            lines.append(f"| `{variable}` | {kind} | {_default(field)} | {field.description} |")
    return "\n".join(lines) + "\n"


SHAPES: Final = {
    Shape.INFERENCE: ("deferred `suspicious_zero`", "deferred `suspicious_zero`"),
    Shape.MANAGEMENT: (
        "skipped `not_billable`",
        "deferred `suspicious_zero`; a response that is read again: skipped `not_billable`",
    ),
    Shape.UNKNOWN: ("skipped `no_usage`", "deferred `suspicious_zero`"),
}


def shapes() -> str:
    """Return the page of LiteLLM's call types, by what the consumer takes them for."""
    releases = committed()
    named: dict[Shape, list[str]] = {shape: [] for shape in Shape}
    for name in sorted({name for names in releases.values() for name in names}):
        named[shape_of(name)].append(name)
    lines = [
        "# Call types",
        "",
        "What a successful call with cost 0 becomes if its model is not declared free and it is",
        "not a cache hit. The words in the name of its call type decide, so the rule also covers",
        "names that LiteLLM adds later: [call_shape.py](../charging/call_shape.py). The create of",
        "a background response or interaction is deferred as `awaiting_result` instead of",
        "`suspicious_zero`.",
        "",
        "A call without a cost is treated in the same way, but is deferred as `missing_cost`. A",
        "cost over 0 is charged whatever the call type, except for reads of a result that another",
        "call ordered: [the decision](architecture.md#the-decision).",
        "",
        "`make schemas` writes this page. The names are those of LiteLLM",
        f"{', '.join(releases)} ([call-types.json](call-types.json), `python -m docs.call_types`).",
        "",
        "| shape | without tokens | with tokens | call types |",
        "| --- | --- | --- | --- |",
    ]
    for shape, (unused, used) in SHAPES.items():
        names = ", ".join(f"`{name}`" for name in named[shape])
        lines.append(f"| {shape} | {unused} | {used} | {names} |")
    lines += [
        "",
        "The setting `BILLING_NOT_BILLABLE_CALL_TYPES` adds call types that cost nothing.",
    ]
    return "\n".join(lines) + "\n"


def openapi(room: str) -> str:
    """Return the OpenAPI document of a room, as its own command prints it."""
    command = [sys.executable, "-m", room, "openapi"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def types() -> str:
    """Return the module of the events' types for readers in Python."""
    return event_types([json.loads(schema(MODELS[name])) for name in EVENTS])


DOCUMENTS: Final[Mapping[Path, Callable[[], str]]] = {
    **{Path(f"schemas/json/{n}.schema.json"): partial(schema, m) for n, m in MODELS.items()},
    Path("schemas/events.py"): types,
    Path("schemas/openapi/gateway.json"): partial(openapi, "producer_gateway"),
    Path("schemas/openapi/spend-guard.json"): partial(openapi, "spend_guard"),
    Path("schemas/asyncapi.json"): asyncapi,
    Path("docs/configuration.md"): configuration,
    Path("docs/call-types.md"): shapes,
    **{
        Path(f"deploy/grafana/dashboards/{name}.json"): partial(dashboards.document, name)
        for name in dashboards.dashboards()
    },
}
"""Every generated file, by path relative to the root, with what returns its text."""


def main() -> None:
    """Write every generated file."""
    for path, text in DOCUMENTS.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text(), "utf-8")
        print(f"wrote {path}")  # noqa: T201 - a command's output


if __name__ == "__main__":
    main()
