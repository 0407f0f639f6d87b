"""What holds for every body."""

import contextlib
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from producer_gateway.scanner import Scanner
from producer_gateway.splitter import Cut, Damaged, split
from schemas.callback import ContractError
from schemas.reader import is_strict_json, read_values
from tests.inputs.bodies import (
    ENCODINGS,
    JSON_LIKE,
    OBJECTS,
    SEPARATORS,
    VALUES,
    Encoding,
    dump,
)


@st.composite
def dumped_or_broken(draw: st.DrawFn) -> bytes:
    """An object as JSON; a byte of it may be another one."""
    raw = dump(draw(OBJECTS), (", ", ": "), draw(ENCODINGS))
    at = draw(st.integers(0, len(raw) - 1))
    return draw(st.sampled_from([raw, raw[:at] + draw(st.binary(max_size=2)) + raw[at + 1 :]]))


def raws(body: bytes) -> list[bytes]:
    """The bytes of the elements; a damaged region is a failure."""
    found = split(body).found
    assert not [one for one in found if isinstance(one, Damaged)]
    return [one.value for one in found]


@given(st.lists(VALUES, max_size=6), SEPARATORS, ENCODINGS)
def test_a_list_is_cut_into_what_was_dumped(
    values: list[object], separators: tuple[str, str], encoding: Encoding
) -> None:
    dumps = [dump(value, separators, encoding) for value in values]
    comma = separators[0].encode()
    assert raws(b"[" + comma.join(dumps) + b"]") == [raw for raw in dumps if raw != b"null"]


@given(st.lists(OBJECTS, max_size=6), ENCODINGS, st.sampled_from([b"\n", b"\r\n", b"\n\n"]))
def test_lines_are_cut_into_what_was_dumped(
    values: list[object], encoding: Encoding, newline: bytes
) -> None:
    dumps = [dump(value, (", ", ": "), encoding) for value in values]
    assert raws(b"".join(raw + newline for raw in dumps)) == dumps


@given(OBJECTS, SEPARATORS, ENCODINGS)
def test_a_single_object_is_one_element(
    value: object, separators: tuple[str, str], encoding: Encoding
) -> None:
    raw = dump(value, separators, encoding)
    assert raws(raw) == [raw]


@given(
    st.lists(OBJECTS, min_size=1, max_size=5),
    st.data(),
    st.sampled_from([b'"', b"{", b"}", b"[", b"]"]),
    st.sampled_from(["missing", "too much"]),
)
def test_ONE_BAD_ELEMENT_LOSES_NO_NEIGHBOUR_whatever_is_missing_or_too_much(
    values: list[object], data: st.DataObject, character: bytes, fault: str
) -> None:
    dumps, insert = (
        [dump(value, (", ", ": "), Encoding.ASCII) for value in values],
        fault != "missing",
    )
    index = data.draw(st.integers(0, len(dumps) - 1))
    victim = dumps[index]
    places = [at for at in range(len(victim)) if insert or victim[at : at + 1] == character]
    if not places:
        return
    at = data.draw(st.sampled_from(places))
    broken = victim[:at] + (character if insert else b"") + victim[at + (not insert) :]
    body = b"[" + b", ".join([*dumps[:index], broken, *dumps[index + 1 :]]) + b"]"
    elements = [one.value for one in split(body).found if isinstance(one, Cut)]
    damaged = [one.value for one in split(body).found if isinstance(one, Damaged)]
    neighbours = [*dumps[:index], *dumps[index + 1 :]]
    if not damaged:
        assert set(neighbours) <= set(elements)
    for neighbour in neighbours:
        assert neighbour in elements or any(neighbour in region for region in damaged)
    # Nothing that nobody sent at the top becomes an element that could be billed. (A `{` too much
    # behind a comma is an element boundary where a `}` is missing: nobody can tell the two apart.)
    for raw in elements if (character, fault) != (b"{", "too much") else ():
        assert raw in neighbours or broken.startswith(raw) or broken in raw or raw[:1] != b"{"


@given(st.binary(max_size=200) | JSON_LIKE)
@example(b"[")
@example(b"[}")
@example(b'[{"a":1')
@example(b'[{"a":1}x{"b":2}]')
def test_any_body_is_cut_into_slices_in_order_and_no_byte_that_matters_is_lost(body: bytes) -> None:
    found, nulls = split(body)
    body = body.removeprefix(b"\xef\xbb\xbf")
    position, slices = 0, [(0, 0)]
    for one in found:
        position = body.index(one.value, position)
        slices.append((position, position + len(one.value)))
        position += len(one.value)
    between = [body[end:start] for (_, end), (start, _) in pairwise([*slices, (len(body), 0)])]
    left = b"".join(between).replace(b"null", b"", nulls)
    assert left.strip(b"[], \t\r\n\x0b\x0c") == b""


@given(VALUES, SEPARATORS)
def test_both_readings_find_the_end_of_a_value(value: object, separators: tuple[str, str]) -> None:
    raw = dump(value, separators, Encoding.UTF_8)
    scanner = Scanner(b"[" + raw + b" ,")
    end = 1 + len(raw)
    assert scanner.value_end(1) == end
    assert scanner.read(1)[1] == end


@given(st.lists(dumped_or_broken(), min_size=1, max_size=3))
@example([b'{"id":"a","x":1e400}'])
@example([b'{"id":"a","response_cost":1e400}'])
@example([b'{"id":"a","metadata":{"spend_logs_metadata":1e400}}', b'{"x":NaN}'])
@example([b'{"id":"a","x":"\xff"}'])
@example([b'{"id":"\xff"}', b'{"x":NaN}'])
@example([b'{"id":"a","x":"\\ud800"}'])
@example([b'{"id":"a","x":"\xed\xa0\x80"}'])
@example([b'{"id":"a","x":' + b"[" * 1_500 + b"]" * 1_500 + b"}"])
@example([b'{"id":"a","x":' + b"9" * 5_000 + b"}"])
def test_gateway_and_consumer_call_the_same_elements_lenient(raws: list[bytes]) -> None:
    for one in split(b"[" + b",".join(raws) + b"]").found:
        if isinstance(one, Cut):
            assert one.lenient == (not is_strict_json(one.value))
            with contextlib.suppress(ContractError):
                assert read_values(one.value)[1] == one.lenient
