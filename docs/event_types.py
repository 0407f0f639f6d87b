"""Types of the events for readers in Python, generated from the JSON Schemas.

They describe what `json.loads` returns, so a program that uses them depends on nothing, refuses no
field or value that a later release adds, and reads money as the text that it is.
"""

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any, Final

from schemas import checkpoint, correction, run_total
from schemas.credits import CreditEventType
from schemas.receipt import EVENT_TYPE
from schemas.topics import load_topics

_WIDTH: Final = 100
_INDENT: Final = " " * 4
_NAMES: Final = {"string": "str", "integer": "int", "boolean": "bool"}
_HEAD: Final = '''"""What events say, as `json.loads` returns them; generated from the JSON Schemas.

Amounts of money are text in plain decimal notation: `Decimal(receipt["charged_usd"])`, never a
float. Later releases may add fields and values. What is `NotRequired` may be missing: from events
of earlier releases, or because its writer left it out.
"""

from typing import Final, NotRequired, TypedDict
'''


def event_types(schemas: Iterable[Mapping[str, Any]]) -> str:
    """Return the module of the types, one for each schema, in the given order.

    Raises `KeyError` for a schema that says something which these types have no word for.
    """
    topics = load_topics("")
    constants = {
        "RECEIPTS": (topics.receipts.name, "The topic of the receipts."),
        "CREDIT_EVENTS": (topics.credits.name, "The topic of the credit events."),
        "RECEIPT_CREATED": (EVENT_TYPE, "`ce_type` of a receipt."),
        "RECEIPT_CORRECTED": (correction.EVENT_TYPE, "`ce_type` of a correction."),
        "CHECKPOINT": (checkpoint.EVENT_TYPE, "`ce_type` of a checkpoint."),
        "RUN_SETTLED": (run_total.EVENT_TYPE, "`ce_type` of the total of a run that has ended."),
        **{one.name: (one.ce_type, "`ce_type` of a credit event.") for one in CreditEventType},
    }
    text = _HEAD + "\n"
    for name, (value, says) in constants.items():
        text += f'{name}: Final = "{value}"\n"""{says}"""\n'
    for schema in schemas:
        parts = schema.get("$defs", {})
        for part in parts.values():
            if part.get("type") == "object":
                text += "\n\n" + _class(part)
        text += "\n\n" + _class(schema)
    return text


def _class(schema: Mapping[str, Any]) -> str:
    parts = schema.get("$defs", {})
    lines = [f"class {schema['title']}(TypedDict):", *_docstring(schema["description"]), ""]
    required = set(schema["required"])
    for name, field in schema["properties"].items():
        kind = _kind(field, parts)
        if name not in required:
            kind = f"NotRequired[{kind}]"
        lines.append(f"{_INDENT}{name}: {kind}")
        if says := _says(field, parts):
            lines += _docstring(says)
    return "\n".join(lines) + "\n"


def _kind(field: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    if "$ref" in field:
        name = str(field["$ref"].rpartition("/")[2])
        return name if parts[name].get("type") == "object" else "str"
    if "enum" in field:
        return "str"
    if "anyOf" in field:
        [kind] = [one for one in field["anyOf"] if one != {"type": "null"}]
        return f"{_kind(kind, parts)} | None"
    if field["type"] == "array":
        return f"list[{_kind(field['items'], parts)}]"
    return _NAMES[field["type"]]


def _says(field: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    told = field.get("description", "")
    values = field.get("enum")
    if "$ref" in field:
        part = parts[field["$ref"].rpartition("/")[2]]
        told, values = part.get("description", ""), part["enum"]
    if values:
        told += " One of " + ", ".join(f"`{value}`" for value in values) + "."
    return " ".join(told.split())


def _docstring(text: str) -> list[str]:
    summary, *more = text.split("\n\n")
    lines = [line for part in (f'"""{summary}', *more) for line in ("", *_wrapped(part))][1:]
    if len(lines) > 1:
        return [*lines, f'{_INDENT}"""']
    [line] = lines
    return [f'{line}"""']


def _wrapped(text: str) -> list[str]:
    width = _WIDTH - len('"""')
    return textwrap.wrap(text, width, initial_indent=_INDENT, subsequent_indent=_INDENT)
