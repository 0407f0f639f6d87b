"""What may stand in a body: values of JSON, how they are written, and what only looks like it."""

import json
from enum import Enum

from hypothesis import strategies as st

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(st.characters(exclude_categories=()))
    | st.sampled_from(['"},{"', "],[", '\\"', ',{"a":1},', "\x00", "\ud800"])
)


class Encoding(Enum):
    """How text outside of ASCII is written."""

    ASCII = "escapes"
    UTF_8 = "bytes"


ENCODINGS = st.sampled_from(Encoding)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(min_size=1), VALUES, min_size=1, max_size=5)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:"), (",\r\n  ", ": ")])
JSON_LIKE = st.lists(
    st.sampled_from(
        [
            *(b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"a", b"1", b" ", b"\n"),
            *(b"null", b"NaN", b'"a"', b'{"a":1}', b',{"b":2}', b"\xff", b"\xef\xbb\xbf"),
        ]
    ),
    max_size=60,
).map(b"".join)


def dump(value: object, separators: tuple[str, str], encoding: Encoding) -> bytes:
    """The value as Python's json writes it; lone surrogates may become bytes that are not UTF-8."""
    text = json.dumps(value, separators=separators, ensure_ascii=encoding is Encoding.ASCII)
    return text.encode("utf-8", "surrogatepass")
