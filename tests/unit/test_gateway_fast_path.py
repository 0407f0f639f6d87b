"""A body that takes the fast path is read as the splitter and `identify` read it."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from producer_gateway.fast_path import Identified, cut_fast
from producer_gateway.splitter import MAX_CALLBACKS, Cut, Split, split
from schemas.reader import identify
from tests.inputs import captures
from tests.inputs.callbacks import element


def objects(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects that begin as callbacks do, and some that do not."""
    beginning = st.fixed_dictionaries({"id": st.sampled_from(["a", "b\\", ""]) | values})
    named = st.fixed_dictionaries(
        {},
        optional={
            "litellm_call_id": values,
            "call_type": st.sampled_from(["aretrieve_batch", "acompletion"]),
            "end_user": values,
            "metadata": st.fixed_dictionaries(
                {},
                optional={
                    "spend_logs_metadata": st.dictionaries(st.just("run_id"), values) | values
                },
            ),
            "tools": st.lists(values, max_size=3),
        },
    )
    return st.builds(lambda first, rest: first | rest, beginning, named)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(
        ['"}, {"id": "', '}, {"id": "a", "litellm_call_id": ', "\\", "r/1", "\ud800"]
    ),
    lambda inner: st.lists(inner, max_size=3) | objects(inner),
    max_leaves=8,
)


def posted(parts: Sequence[bytes]) -> bytes:
    """A list as LiteLLM writes it."""
    return b"[" + b", ".join(parts) + b"]"


def expected(body: bytes) -> list[Identified]:
    """The callbacks of a body, read the long way."""
    found, nulls = split(body)
    assert nulls == 0
    raws = [one.value for one in found]
    assert Split(found, nulls) == Split([Cut(raw, lenient=False) for raw in raws], 0)
    return [(raw, identify(raw)) for raw in raws]


@pytest.mark.parametrize("file", captures.files())
def test_every_body_that_a_proxy_sent_takes_the_fast_path(file: str) -> None:
    body = captures.body(file)
    assert cut_fast(body) == expected(body)


def test_callbacks_of_all_kinds_in_one_list_take_the_fast_path() -> None:
    of_one_version = [
        raw for raw in captures.all_elements() if b'", "litellm_call_id": ' in raw[:600]
    ]
    body = posted(of_one_version)
    assert cut_fast(body) == expected(body)


def test_one_object_a_line_takes_the_fast_path() -> None:
    first, second = element(), element(id="another")
    assert cut_fast(first + b"\n" + second + b"\n") == expected(first + b"\n" + second)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"\n", b"7", b"null", b"[]", b"[7]", b"[null]"),
        *(b"{", b"[{", b"[{}]", b"{}]", b"[{]", b'[{"id": true}]', b'[{"id": " "}]'),
        *(b'[{"id": "a"}, null]', b'[{"id": "a"}, 7]', b'[{"id":"a"},{"id":"b"}]'),
        *(b' {"id": "a"}', b'{"id": "a"}\r\n', b'{"id": "a"}\n\n{"id": "b"}', b'{\n"id": "a"\n}'),
        *(b'[{"id": "a"}, {"id": NaN}]', b'[{"id": "a", "x": NaN}]', b'[{"id": "\xc3\xa9"}]'),
        *(b'[{"id": "a"}, {"id": "b"}', b'[{"id": "a"}] {"id": "b"}]', b'[{"id": "a"}], [{}]'),
        *(b'[{"id": "a", "metadata": []}]', b'[{"id": "a", "b": ' + b"[" * 5_000 + b"}]"),
    ],
)
def test_other_bodies_are_left_to_the_splitter(body: bytes) -> None:
    assert cut_fast(body) is None


def test_a_list_too_long_to_cut_is_left_to_the_splitter() -> None:
    assert cut_fast(b"[" + b", ".join([b'{"id": "a"}'] * (MAX_CALLBACKS + 1)) + b"]") is None
    assert cut_fast(b'{"id": "a"}\n' * (MAX_CALLBACKS + 1)) is None


def test_an_object_inside_that_begins_like_an_element_never_becomes_one() -> None:
    inside = [{"id": "x", "litellm_call_id": "y"}, {"id": "z", "litellm_call_id": "w"}]
    raw = json.dumps({"id": "a", "litellm_call_id": "b", "tools": inside}).encode()
    body = posted([raw, raw])
    assert cut_fast(body) in (None, expected(body))


@given(st.lists(objects(VALUES), min_size=1, max_size=4), st.sampled_from(["list", "lines"]))
@example([{"id": "a", "tools": [{"id": "b"}, {"id": "c"}]}, {"id": "d"}], "list")
def test_the_guess_is_right_or_there_is_none(values: list[dict[str, Any]], how: str) -> None:
    dumps = [json.dumps(value).encode() for value in values]
    body = posted(dumps) if how == "list" else b"\n".join(dumps)
    found = cut_fast(body)
    assert found is None or found == expected(body)


@given(st.lists(objects(VALUES), min_size=1, max_size=3), st.data())
def test_so_it_is_where_bytes_are_wrong(values: list[dict[str, Any]], data: st.DataObject) -> None:
    body = posted([json.dumps(value).encode() for value in values])
    at = data.draw(st.integers(0, len(body) - 1))
    odd = data.draw(st.binary(max_size=2) | st.sampled_from([b"}", b'"', b"}, {", b"\\", b"\n"]))
    broken = body[:at] + odd + body[at + 1 :]
    found = cut_fast(broken)
    assert found is None or found == expected(broken)
