"""Whether values that one JSON Schema describes are taken by whoever goes by another one."""

from collections.abc import Collection, Iterator
from typing import Any, Final

Schema = dict[str, Any]

_AT_MOST: Final = ("maxLength", "maximum", "maxItems")
_AT_LEAST: Final = ("minLength", "minimum", "minItems")
_WIDER: Final = {"integer": {"integer", "number"}}


class Comparison:
    """Of the schema of who writes with that of who reads; `grow` are the paths of open lists."""

    def __init__(self, writer: Schema, reader: Schema, grow: Collection[str] = ()) -> None:
        self._writer, self._reader, self._grow = writer, reader, grow

    def breaks(self) -> list[str]:
        """What a reader may refuse or miss, each with its path; none where it takes all values."""
        return list(self._any(self._writer, self._reader, ""))

    def _any(self, writer: Schema, reader: Schema, path: str) -> Iterator[str]:
        takes = [*_kinds(reader, self._reader)]
        for kind in _kinds(writer, self._writer):
            refused = [[*self._one(kind, other, path)] for other in takes]
            if all(refused):
                yield from min(refused, key=len)

    def _one(self, writer: Schema, reader: Schema, path: str) -> Iterator[str]:
        kind, wanted = writer.get("type"), reader.get("type")
        if wanted is not None and wanted not in _WIDER.get(str(kind), {kind}):
            yield f"{path or 'the value'}: {kind} where {wanted} was"
            return
        for name in ("pattern", "format", "const"):
            if name in reader and writer.get(name) != reader[name]:
                yield f"{path}: {name} {writer.get(name)} where it was {reader[name]}"
        if "enum" in reader and path not in self._grow:
            more = set(writer.get("enum", ["anything"])) - set(reader["enum"])
            yield from (f"{path}: {value} was no value of it" for value in sorted(more))
        yield from _bounds(writer, reader, path)
        if "items" in reader:
            yield from self._any(writer.get("items", {}), reader["items"], f"{path}[]")
        if kind == "object":
            yield from self._fields(writer, reader, path)

    def _fields(self, writer: Schema, reader: Schema, path: str) -> Iterator[str]:
        written, read = writer.get("properties", {}), reader.get("properties", {})
        for name in read:
            if name not in written:
                yield f"{path}.{name}: is gone"
            elif name in reader.get("required", []) and name not in writer.get("required", []):
                yield f"{path}.{name}: may be missing now"
            else:
                yield from self._any(written[name], read[name], f"{path}.{name}")
        if reader.get("additionalProperties") is False:
            yield from (f"{path}.{name}: was refused" for name in written if name not in read)


def _kinds(schema: Schema, root: Schema) -> Iterator[Schema]:
    """The alternatives of a schema, without references."""
    if reference := schema.get("$ref"):
        yield from _kinds(root["$defs"][reference.removeprefix("#/$defs/")], root)
    elif alternatives := schema.get("anyOf"):
        for one in alternatives:
            yield from _kinds(one, root)
    else:
        yield schema


def _bounds(writer: Schema, reader: Schema, path: str) -> Iterator[str]:
    for names, beyond in ((_AT_MOST, 1), (_AT_LEAST, -1)):
        for name in names:
            if name not in reader:
                continue
            found = writer.get(name)
            if found is None or (found - reader[name]) * beyond > 0:
                yield f"{path}: {name} {found} where it was {reader[name]}"
