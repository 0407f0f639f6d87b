"""Management is no inference: the words of a call type decide, of all that LiteLLM can send."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging.call_shape import Shape, reads_response, shape_of
from charging.outcomes import Charge, Deferred, Skipped, SkippedReason
from docs.call_types import call_types, committed
from tests.inputs.callbacks import element, policy, verdict

ROOT = Path(__file__).parents[2]
ALL = sorted({name for names in committed().values() for name in names})

INFERENCE = """
    anthropic_messages compact_responses completion create_interaction create_video decisions
    embedding extraction generate_content generate_content_stream image_edit image_generation
    image_variation llm_passthrough_route ocr pass_through_endpoint rerank responses run_thread
    run_thread_stream search send_message speech text_completion transcription
    vector_store_search video_edit video_extension video_generation video_remix
    realtime realtime_calls realtime_translation_calls responses_websocket
""".split()  # noqa: SIM905 - a page of names
"""The families of LiteLLM 1.110.2 whose zero is suspicious, without the `a` of the asynchronous."""
UNKNOWN = """
    call_mcp_tool code_interpreter_tool endpoint_func ingest query run_code systemone
""".split()  # noqa: SIM905 - the same

READS = """
    cancel cancel_batch cancel_fine_tuning_job cancel_responses cancel_run
    file_content file_retrieve get get_responses get_run retrieve
    retrieve_container retrieve_fine_tuning_job
    vector_store_file_content vector_store_file_retrieve video_content video_get_character
    video_retrieve video_retrieve_job video_status
""".split()  # noqa: SIM905 - the same
"""Those that tell again what another call has ordered; a batch has a key of its own."""


def family(name: str) -> str:
    """The name without what makes it asynchronous."""
    name = name.lstrip("_")
    for known in (name, name.removeprefix("async_"), name.removeprefix("a")):
        if known in {*INFERENCE, *UNKNOWN, *READS}:
            return known
    return name


def becomes(call_type: object, *, tokens: int = 0, cost: float | None = 0.0) -> str:
    """What a call of a paid model becomes by the defaults of the settings."""
    decision = verdict(
        element(
            call_type=call_type,
            response_cost=cost,
            prompt_tokens=tokens,
            completion_tokens=0,
            total_tokens=tokens,
        ),
        policy(not_billable=frozenset()),
    )
    if isinstance(decision, Charge):
        return "receipt"
    assert isinstance(decision, Deferred | Skipped)
    return decision.reason


@pytest.mark.parametrize("name", ALL)
def test_06_every_call_type_of_litellm_has_its_place(name: str) -> None:
    inference, unknown = family(name) in INFERENCE, family(name) in UNKNOWN
    unused = "suspicious_zero" if inference else "no_usage" if unknown else "not_billable"
    assert becomes(name) == unused
    used = "not_billable" if reads_response(name) else "suspicious_zero"
    assert becomes(name, tokens=5) == used
    assert becomes(name, cost=None) == ("missing_cost" if inference else unused)
    assert becomes(name, cost=0.5) == ("ambiguous_read" if family(name) in READS else "receipt")


def test_every_call_type_of_the_installed_litellm_is_known() -> None:
    """The demo installs one; a release is added by `python -m docs.call_types`."""
    for package in ROOT.glob(".venv-litellm/lib/python*/site-packages/litellm"):
        assert call_types(package) <= set(ALL), package


def test_the_call_types_of_a_release_are_read_from_its_source(tmp_path: Path) -> None:
    package = tmp_path / "litellm"
    (package / "types").mkdir(parents=True)
    listed = 'class CallTypes(str, Enum):\n    one = "aone"\n    two = "two"\n'
    listed += '\nclass Other:\n    x = "x"\n'
    (package / "types" / "utils.py").write_text(listed)
    sent = "@client\nasync def avideo_status(): ...\n\n@other\ndef no(): ...\n"
    (package / "videos.py").write_text(sent)
    assert call_types(package) == {"aone", "two", "avideo_status"}


def test_the_list_holds_what_litellm_lists_and_what_it_only_sends() -> None:
    assert {"acompletion", "aretrieve_batch", "avideo_status", "alist_batches"} <= set(ALL)


@pytest.mark.parametrize(
    ("call_type", "shape"),
    [
        # what no release has yet
        ("aembeddings_batch", Shape.INFERENCE),
        ("astream_generate_content", Shape.INFERENCE),
        ("streamGenerateContent", Shape.INFERENCE),
        ("amusic_generation", Shape.INFERENCE),
        ("music_generation_status", Shape.MANAGEMENT),
        ("aget_video_generation", Shape.MANAGEMENT),
        ("alist_fine_tunes", Shape.MANAGEMENT),
        ("acancel_video", Shape.MANAGEMENT),
        ("video_content", Shape.MANAGEMENT),
        ("acreate_speech", Shape.INFERENCE),
        ("acreate_chat_completion", Shape.INFERENCE),
        ("create_message_batch", Shape.MANAGEMENT),
        ("acount_tokens", Shape.MANAGEMENT),
        ("/v1/images/generations", Shape.INFERENCE),
        ("anything", Shape.UNKNOWN),
        ("a", Shape.UNKNOWN),
        ("_", Shape.UNKNOWN),
        ("", Shape.UNKNOWN),
        (None, Shape.UNKNOWN),
        ("completion" * 1_000, Shape.UNKNOWN),
    ],
)
def test_a_name_that_nobody_knows_is_told_by_its_words(call_type: str | None, shape: Shape) -> None:
    assert shape_of(call_type) is shape


@given(st.text(max_size=40), st.sampled_from(["", "a", "_", "async_"]))
def test_any_text_is_a_call_type(text: str, before: str) -> None:
    assert shape_of(before + text) in Shape


def test_the_leading_a_makes_no_difference() -> None:
    pairs = [(name, f"a{name}") for name in ALL if f"a{name}" in ALL]
    assert len(pairs) > 80
    assert [pair for pair in pairs if shape_of(pair[0]) is not shape_of(pair[1])] == []


@pytest.mark.parametrize("odd", [5, [], {"a": 1}, True])
def test_a_call_type_of_another_type_is_unknown(odd: object) -> None:
    assert becomes(odd) == "no_usage"
    assert becomes(odd, tokens=5) == "suspicious_zero"


@pytest.mark.parametrize(
    ("tokens", "used"),
    [
        ({"prompt_tokens": 5}, True),
        ({"completion_tokens": 5}, True),
        ({"prompt_tokens": None, "completion_tokens": 5}, True),
        ({"prompt_tokens": None, "completion_tokens": None, "total_tokens": 5}, True),
        # The total is the sum of the others, where these are there.
        ({"total_tokens": 5}, False),
        ({"prompt_tokens": -5}, False),
        ({}, False),
    ],
)
def test_tokens_of_any_kind_are_usage(tokens: dict[str, int], *, used: bool) -> None:
    none = dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), 0)
    decision = verdict(element(call_type="anew", response_cost=0, **(none | tokens)))
    assert isinstance(decision, Deferred if used else Skipped)


def test_what_the_operator_names_costs_nothing_too() -> None:
    decision = verdict(
        element(call_type="anew", response_cost=0), policy(not_billable=frozenset({"anew"}))
    )
    assert decision == Skipped(SkippedReason.NOT_BILLABLE)
