"""Bodies as people and proxies send them, and what is cut out of them."""

import json
import time

import pytest

from producer_gateway.splitter import MAX_CALLBACKS, Cut, Damaged, Split, split
from tests.inputs import captures

GOOD = [b'{"id":"a"}', b'{"id":"b","messages":[{"x":1},{"y":"},{"}]}', b'{"id":"c"}']
MEBIBYTE = 1024 * 1024
ODD = [
    b'{"a":"line\nbreak\x01"}',
    b'{"a":NaN}',
    b'{"a":[-Infinity,Infinity]}',
    b'{"a":"\\ud800"}',
    b'{"a":"\xff\xfe"}',
    b'{"a":tru}',
    b'{"a":01}',
    b'{"a":"\\x"}',
    b'{"a" 1}',
    b'{"a":1,}',
    b'{"a":' + b"[" * 2_000 + b"]" * 2_000 + b"}",
]
"""What strict JSON refuses though every bracket matches; the first one has a line break."""


def strict(*raws: bytes) -> Split:
    """The split of a body of strict elements."""
    return Split([Cut(raw, lenient=False) for raw in raws], 0)


@pytest.mark.parametrize("body", [b"", b" \r\n", b"[]", b" [ ] ", b"\xef\xbb\xbf[]"])
def test_nothing_posted_is_nothing(body: bytes) -> None:
    assert split(body) == Split([], 0)


@pytest.mark.parametrize(
    "body",
    [
        b'[{"id":"a"},{"id": 2}]',
        b'\n [ {"id":"a"} ,\t{"id": 2}\r\n] \n',
        b'\xef\xbb\xbf[{"id":"a"},{"id": 2}]',
        b'{"id":"a"}\n{"id": 2}\n',
        b'{"id":"a"}\r\n\r\n{"id": 2}',
        b'[{"id":"a"},,{"id": 2},]',
    ],
)
def test_the_three_formats_give_the_same_elements(body: bytes) -> None:
    assert split(body) == strict(b'{"id":"a"}', b'{"id": 2}')


def test_one_object_may_be_written_over_several_lines() -> None:
    body = b'{\n  "id": "a",\n  "tools": [\n    {"id": "x"}\n  ]\n}'
    assert split(body + b"\n") == strict(body)


def test_null_entries_are_counted_and_left_out() -> None:
    assert split(b'[null,{"id":"a"},null]') == Split([Cut(b'{"id":"a"}', lenient=False)], 2)
    assert split(b'[null,{"id":Infinity}]') == Split([Cut(b'{"id":Infinity}', lenient=True)], 1)


def test_elements_that_are_no_objects_are_cut_too() -> None:
    assert split(b'[1,"},{",[2,{}],true]') == strict(b"1", b'"},{"', b"[2,{}]", b"true")


def test_keys_that_occur_twice_stay_as_they_are() -> None:
    assert split(b'[{"id":"a","id":"b"}]') == strict(b'{"id":"a","id":"b"}')


@pytest.mark.parametrize("odd", ODD)
def test_ONE_BAD_ELEMENT_LOSES_NO_NEIGHBOUR(odd: bytes) -> None:
    body = b"[" + b", ".join([*GOOD, odd, *GOOD]) + b"]"
    found = split(body).found
    assert found[:3] == found[4:] == strict(*GOOD).found
    assert found[3] in (Cut(odd, lenient=True), Damaged(odd))


@pytest.mark.parametrize("odd", ODD[1:])
def test_one_bad_line_loses_no_neighbour(odd: bytes) -> None:
    found = split(b"\n".join([*GOOD, odd, *GOOD])).found
    assert found[:3] == found[4:] == strict(*GOOD).found
    assert found[3] == Cut(odd, lenient=True)


def test_a_number_beyond_a_double_is_json() -> None:
    assert split(b'[{"a":1e400}]') == strict(b'{"a":1e400}')


@pytest.mark.parametrize(
    "broken",
    [
        b'{"id":"x, "cost":1}',
        b'{"id":"x","cost":1',
        b'{"id":"x","m":[1,2}',
        b'{"id":"x","m":{"y":1},"cost":1',
        b'{"id":"x","m":{"y":1}},"cost":1}',
        b'{"id":"x"} {"id":"y"}',
        b'{"id":"x","m":[{"y":1},{"z":2}],"t":"\\"}",\\"}',
    ],
)
def test_a_broken_element_is_parked_and_reading_resumes_behind_it(broken: bytes) -> None:
    body = b"[" + b",".join([*GOOD, broken, *GOOD]) + b"]"
    split_up = split(body)
    assert [one.value for one in split_up.found] == [*GOOD, broken, *GOOD]
    assert [type(one) for one in split_up.found] == [*[Cut] * 3, Damaged, *[Cut] * 3]


def test_one_broken_element_of_500_loses_no_neighbour() -> None:
    elements = [json.dumps(json.loads(raw)).encode() for raw in captures.all_elements()]
    elements = (elements * (500 // len(elements) + 1))[:500]
    broken = elements[250].replace(b'"', b"", 1)
    body = b"[" + b", ".join([*elements[:250], broken, *elements[251:]]) + b"]"
    found = split(body).found
    assert [one.value for one in found] == [*elements[:250], broken, *elements[251:]]
    assert [index for index, one in enumerate(found) if isinstance(one, Damaged)] == [250]


def test_a_list_cut_off_anywhere_keeps_its_complete_elements_and_promotes_nothing_nested() -> None:
    body = b"[" + b",".join(GOOD) + b"]"
    for length in range(1, len(body)):
        found = split(body[:length]).found
        elements = [one.value for one in found if isinstance(one, Cut)]
        assert elements == GOOD[: len(elements)]
        assert len(found) - len(elements) <= 1
        kept = b"".join(one.value for one in found)
        assert kept.replace(b",", b"") == body[1:length].replace(b",", b"")


def test_an_object_inside_a_broken_element_never_becomes_an_element() -> None:
    forged = b'{"id":"forged","response_cost":0}'
    for broken in (
        b'{"m":[1,' + forged + b"," + forged + b'],"cost" "x}',
        b'{"m":[1,' + forged + b"," + forged + b'],"cost":"x}',
        b'{"m":"x,[1,' + forged + b"," + forged + b"]}",
        b'{"m":[1,' + forged + b"," + forged,
    ):
        raws = [
            one.value
            for one in split(b"[" + GOOD[0] + b"," + broken + b"]").found
            if isinstance(one, Cut)
        ]
        assert forged not in raws
        assert GOOD[0] in raws


def test_an_indented_line_is_part_of_a_value_and_never_an_element() -> None:
    body = b'{\n "id": oops oops,\n "m": [\n  {"id":"forged"}\n ]\n}\n{"id":"a"}\n'
    found = split(body).found
    assert [one.value for one in found if isinstance(one, Cut)] == [b'{"id":"a"}']


def test_a_broken_line_hurts_itself_alone() -> None:
    body = b'{"id":"a"}\n{"id":"x}\n{"id":NaN}\n{"id":"b"}\n'
    assert split(body).found == [
        Cut(b'{"id":"a"}', lenient=False),
        Damaged(b'\n{"id":"x}\n'),
        Cut(b'{"id":NaN}', lenient=True),
        Cut(b'{"id":"b"}', lenient=False),
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"upstream connect error or disconnect/reset before headers",
        b"<html>\n<body>\n1\n</body>\n</html>",
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
        '[{"id":"a"}]'.encode("utf-16"),
        b"id=a&cost=1",
    ],
)
def test_what_is_not_json_is_one_region(body: bytes) -> None:
    assert split(body) == Split([Damaged(body)], 0)


def test_a_list_longer_than_any_proxy_sends_does_not_become_millions_of_records() -> None:
    for body in (b"[" + b"0," * 3 * MEBIBYTE + b"0]", b'{"a":1}\n' * 2 * MAX_CALLBACKS):
        split_up = split(body)
        assert len(split_up.found) <= MAX_CALLBACKS + 2
        assert isinstance(split_up.found[-1], Damaged)


@pytest.mark.parametrize(
    "pattern",
    [
        b"[",
        b"{",
        b'{"a":',
        b"[1,",
        b"[[],",
        b",",
        b'"',
        b'"\\',
        b'{},"',
        b',{"a":',
        b',{"a":[',
        b"\n",
    ],
)
@pytest.mark.parametrize("start", [b"[", b"[{x "])
def test_hostile_bodies_cost_bounded_time(start: bytes, pattern: bytes) -> None:
    size = 2 * MEBIBYTE
    began = time.process_time()
    split_up = split(start + pattern * (size // len(pattern)))
    # The budget allows about four readings of a body; a quadratic reading would take hours.
    assert time.process_time() - began < 30
    assert sum(len(one.value) for one in split_up.found) <= size + len(start)


@pytest.mark.parametrize("file", captures.files())
def test_RAW_BYTES_SURVIVE_of_captured_bodies(file: str) -> None:
    body = captures.body(file)
    found = split(body).found
    assert all(isinstance(one, Cut) and not one.lenient for one in found)
    assert [one.value for one in found] == captures.elements(file)
    assert all(one.value in body for one in found)


@pytest.mark.parametrize("end", [b"", b",", b" ,\n", b"\n"])
def test_a_list_that_lacks_only_its_end_gives_all_its_elements(end: bytes) -> None:
    whole = b'{"id": "a", "metadata": {"b": [1]}}'
    found, _ = split(b"[" + whole + b", " + whole + end)
    assert found == [Cut(whole, lenient=False)] * 2
