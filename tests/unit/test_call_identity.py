"""By what a call and its run are known: one rule for both rooms, and no way around it."""

import json
import time

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from charging.outcomes import Charge, Deferred
from producer_gateway.fast_path import cut_fast
from schemas.callback import ContractError, Identity
from schemas.identity import call_key, run_attempt
from schemas.reader import identify, read_callback
from schemas.text import MAX_TEXT_BYTES, bounded, identifier, storable
from tests.inputs.callbacks import element, leniently, verdict

IDS = st.text(
    st.one_of(st.sampled_from("|\\0\x00~é"), st.characters(exclude_categories=["Cs"])),
    min_size=1,
    max_size=12,
).filter(str.strip)
QUICK_SECONDS = 2.0


def identified(**fields: object) -> Identity:
    return identify(element(**fields))


def in_run(spend: object, **fields: object) -> Identity:
    return identified(metadata={"spend_logs_metadata": spend}, **fields)


def test_the_key_is_the_pair() -> None:
    assert identified(litellm_call_id="call", id="resp").call_key == "call|resp"


NO_TEXT = [..., None, "", " \t", "\x1c", True, ["call"], {"a": "call"}, 10**70, 1e300]


@pytest.mark.parametrize("absent", NO_TEXT)
def test_10_half_a_key_is_a_key(absent: object) -> None:
    by_id = identified(litellm_call_id=absent, id="resp")
    by_call = identified(litellm_call_id="call", id=absent)
    assert (by_id.call_key, by_id.half_key) == ("resp", True)
    assert (by_call.call_key, by_call.half_key) == ("call", True)
    assert not identified().half_key


@pytest.mark.parametrize(
    ("number", "text"), [(12345, "12345"), (0, "0"), (-7, "-7"), (7.0, "7"), (2**64, str(2**64))]
)
def test_10_a_number_is_an_id(number: float, text: str) -> None:
    found = identified(id=number, litellm_call_id=number)
    assert found == identified(id=text, litellm_call_id=text)
    assert found.call_key == f"{text}|{text}"


def test_a_batch_without_its_id_has_no_key() -> None:
    """Each retrieve has another call id: by that, one batch would be charged at each of them."""
    with pytest.raises(ContractError, match="no_usable_id"):
        identified(call_type="aretrieve_batch", id=None, litellm_call_id="call-1")
    assert not identified(call_type="aretrieve_batch", litellm_call_id=None).half_key


def test_a_batch_is_one_call_however_often_it_is_retrieved() -> None:
    keys = {
        identified(call_type="aretrieve_batch", id="batch_1", litellm_call_id=f"call-{n}").call_key
        for n in range(10)
    }
    assert keys == {"batch_1"}


def test_CHARGE_RECEIPTS_IDEMPOTENT_BY_CALL_ID_no_optional_field_is_part_of_the_key() -> None:
    plain = identified().call_key
    for change in (
        {"metadata": None},
        {"metadata": {"spend_logs_metadata": {"run_id": "another"}}},
        {"endTime": 1.0, "startTime": None},
        {"model": "another", "model_group": None},
        {"end_user": "run/3"},
        {"response_cost": None},
        {"call_type": "aembedding"},
    ):
        assert identified(**change).call_key == plain


@given(first=st.tuples(IDS | st.none(), IDS), second=st.tuples(IDS | st.none(), IDS))
@example(first=("a|b", "c"), second=("a", "b|c"))
@example(first=("a\\", "b"), second=("a", "\\b"))
@example(first=("a\\|b", "c"), second=("a\\", "b|c"))
@example(first=(None, "a|b"), second=("a", "b"))
@example(first=("a", "\x00"), second=("a", "\\0"))
@example(first=("a", "\x00"), second=("a", "\ufffd"))
def test_different_pairs_never_share_a_key(
    first: tuple[str | None, str], second: tuple[str | None, str]
) -> None:
    keys = [call_key(call, response, "acompletion") for call, response in (first, second)]
    assert (keys[0] == keys[1]) == (first == second)


@given(st.text(min_size=300, max_size=400), st.text(min_size=300, max_size=400))
def test_an_overlong_text_stays_itself_and_only_itself(one: str, other: str) -> None:
    long_one, long_other = one * 4, other * 4
    assert len(bounded(long_one).encode("utf-8", "surrogatepass")) <= MAX_TEXT_BYTES
    assert (bounded(long_one) == bounded(long_other)) == (long_one == long_other)


def test_nobody_can_choose_an_id_that_is_the_short_form_of_another() -> None:
    victim = "v" * 5_000
    forged = bounded(victim)
    assert bounded(forged) != forged
    assert call_key(None, forged, None) != call_key(None, victim, None)


@given(st.text(max_size=300))
def test_an_identifier_can_be_stored_and_indexed(text: str) -> None:
    stored = identifier(text)
    assert "\x00" not in stored
    assert len(stored.encode()) <= MAX_TEXT_BYTES
    assert storable(stored) == stored


@pytest.mark.parametrize("run_id", ["run-1", " run 1 ", "läuft/1", "\N{ROCKET}", "a" * 1_024])
def test_the_run_is_the_one_that_the_metadata_names(run_id: str) -> None:
    found = in_run({"run_id": run_id}, end_user="other/7")
    assert (found.run_id, found.attributed) == (run_id, True)


@pytest.mark.parametrize(
    "spend",
    [
        None,
        "run-1",
        ["run_id", "run-1"],
        7,
        True,
        {},
        {"run_id": None},
        {"run_id": ""},
        {"run_id": " \n"},
        {"run_id": True},
        {"run_id": 1e300},
        {"run_id": 10**70},
        '"run-1"',
        '["run_id", "run-1"]',
        '{"run_id": "run-1"',
        {"run_id": ["run-1"]},
        {"run_id": {"run_id": "run-1"}},
        {"RUN_ID": "run-1"},
    ],
)
def test_a_call_without_a_usable_run_is_a_run_of_its_own(spend: object) -> None:
    found = in_run(spend, end_user="acct-1")
    assert found == Identity("call-1|chatcmpl-1", "call-1|chatcmpl-1", 0, attributed=False)


@pytest.mark.parametrize("metadata", [None, ..., [], "x", 5, [{"spend_logs_metadata": {}}]])
def test_metadata_of_any_type_names_no_run(metadata: object) -> None:
    assert not identified(metadata=metadata, end_user=None).attributed


@pytest.mark.parametrize(
    ("end_user", "run"),
    [
        ("run-1/0", ("run-1", 0)),
        ("a/b/12", ("a/b", 12)),
        ("run\n1/3", ("run\n1", 3)),
        ("run-1/999999999", ("run-1", 999_999_999)),
        ("run-1/007", ("run-1", 7)),
        ("run-1/1000000000", None),
        ("run-1/", None),
        ("/1", None),
        (" /1", None),
        ("run-1/-1", None),
        ("run-1/+1", None),
        ("run-1/1 ", None),
        ("run-1/1\n", None),
        ("run-1/1_0", None),
        ("run-1/\u0661", None),
        ("run-1/\u00b2", None),
        ("run-1", None),
        ("", None),
        (None, None),
        (5, None),
        (["run-1/0"], None),
    ],
)
def test_an_end_user_of_the_form_run_attempt_names_the_run(
    end_user: object, run: tuple[str, int] | None
) -> None:
    assert run_attempt(end_user) == run
    found = in_run(None, end_user=end_user)
    assert found.attributed == (run is not None)
    if run is not None:
        assert (found.run_id, found.attempt) == run


@pytest.mark.parametrize(
    ("attempt", "counted"),
    [
        (0, 0),
        (3, 3),
        ("3", 3),
        (2_147_483_647, 2_147_483_647),
        (2_147_483_648, 0),
        (10**30, 0),
        (-1, 0),
        (True, 0),
        (1.5, 0),
        ("x", 0),
        ("\u0663", 0),
        ("9" * 5_000, 0),
        (None, 0),
        ([1], 0),
    ],
)
def test_the_attempt_is_a_count_or_zero(attempt: object, counted: int) -> None:
    assert in_run({"run_id": "run-1", "attempt": attempt}).attempt == counted


def test_an_overlong_run_is_still_one_run() -> None:
    long_runs = {in_run({"run_id": "r" * 10_000}, id=f"resp-{n}").run_id for n in range(3)}
    assert len(long_runs) == 1
    assert len(long_runs.pop().encode()) <= MAX_TEXT_BYTES
    assert in_run({"run_id": "r" * 10_001}) != in_run({"run_id": "r" * 10_000})


@pytest.mark.parametrize(
    "end_user", ["a" * 1_000_000, " " * 1_000_000 + "/x", "/1" * 500_000 + "x", "a/" * 500_000]
)
def test_an_end_user_of_a_megabyte_is_read_at_once(end_user: str) -> None:
    began = time.thread_time()
    run_attempt(end_user)
    assert time.thread_time() - began < QUICK_SECONDS


@pytest.mark.parametrize("nobody", NO_TEXT)
def test_an_element_without_either_id_has_no_identity(nobody: object) -> None:
    for other in (None, "", [], nobody):
        with pytest.raises(ContractError, match="no_usable_id"):
            identified(id=nobody, litellm_call_id=other)


@pytest.mark.parametrize(
    "spend",
    [
        {"run_id": 990017, "attempt": 1},
        {"run_id": 990017.0, "attempt": 1.0},
        {"run_id": "990017", "attempt": "1"},
        '{"run_id": 990017, "attempt": "1"}',
        ' {"run_id": "990017", "attempt": 1, "x": NaN}',
    ],
)
def test_11_a_run_is_the_same_whatever_the_type_of_its_name(spend: object) -> None:
    """One partition for all of them, in both rooms."""
    found = in_run(spend, end_user="acct-1")
    assert (found.run_id, found.attempt, found.attributed) == ("990017", 1, True)
    as_text = identified(metadata=json.dumps({"spend_logs_metadata": spend}), end_user="acct-1")
    assert as_text == found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)


NUMBERS = st.integers(-(10**66), 10**66) | st.floats() | st.sampled_from([2.0**53, 2**53, 1e21])
SPEND = JSON | st.fixed_dictionaries({"run_id": IDS | NUMBERS | JSON, "attempt": NUMBERS | JSON})
METADATA = JSON | st.fixed_dictionaries({"spend_logs_metadata": SPEND | SPEND.map(json.dumps)})


@given(
    st.fixed_dictionaries(
        {"id": IDS | NUMBERS | JSON},
        optional={
            "litellm_call_id": IDS | NUMBERS | JSON,
            "call_type": st.sampled_from(["acompletion", "aretrieve_batch"]) | JSON,
            "end_user": st.sampled_from(["run/3", "acct"]) | JSON,
            "metadata": METADATA | METADATA.map(json.dumps),
        },
    )
)
@example({"id": "x", "metadata": {"spend_logs_metadata": '{"run_id": 1e400}'}})
@example({"id": "x", "metadata": '{"spend_logs_metadata": "{\\"run_id\\": \\"\\\\ud800\\"}"}'})
@example({"id": 10**20, "metadata": {"spend_logs_metadata": {"run_id": 10**20}}})
@example({"id": "x", "metadata": '{"spend_logs_metadata": ' + "[" * 5_000})
def test_both_rooms_know_a_call_by_the_same_names(fields: dict[str, object]) -> None:
    """The gateway keys the record by `identify`; the consumer bills by what is in the value."""
    value = json.dumps({"status": "success", "response_cost": 1, **fields}).encode()
    try:
        known = identify(value)
    except ContractError:
        assume(False)
    assert read_callback(value).identity == known
    assert identify(leniently(value)) == known
    fast = cut_fast(b"[" + value + b"]")
    assert fast in (None, [(value, known)])
    assert len(known.run_id.encode()) <= MAX_TEXT_BYTES
    decision = verdict(value)
    assert isinstance(decision, Charge)
    assert (decision.receipt.call_key, decision.receipt.run_id) == (known.call_key, known.run_id)
    zero = verdict(value.replace(b'"response_cost": 1', b'"response_cost": 0'))
    if isinstance(zero, Deferred):
        assert (zero.call_key, zero.run_id) == (known.call_key, known.run_id)
