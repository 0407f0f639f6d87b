"""The shape of a call type: whether it makes a model work, or manages what is there.

LiteLLM has over two hundred call types and adds some with each release, with and without a leading
`a`, and names what it calls after the function that was called. So the words in the name decide,
not a list of names. Pure.
"""

import re
from enum import StrEnum
from functools import lru_cache
from typing import Final


class Shape(StrEnum):
    """What a call of this type does, as far as its name tells."""

    INFERENCE = "inference"
    """A model works: without a price, its zero is suspicious."""
    MANAGEMENT = "management"
    """Reads, lists, creates, deletes, cancels, polls: costs nothing."""
    UNKNOWN = "unknown"


_WORKS: Final = frozenset({"generate", "transcribe", "translate", "chat", "predict"})
"""Anywhere, unless a managing word comes first: `generate_content` reads no content."""

_MANAGES: Final = frozenset(
    {
        *("get", "list", "retrieve", "fetch", "read", "download", "poll", "status", "content"),
        *("delete", "remove", "cancel", "update", "modify", "add", "upload", "count"),
        *("secret", "session"),
        # Providers judge prompts for nothing; a price, where there is one, is a cost over 0.
        "moderation",
    }
)
"""Anywhere in the name: `video_status`, `cancel_responses`, `create_realtime_client_secret`."""

_MAKES: Final = frozenset(
    {
        *("completion", "embedding", "image", "video", "audio", "speech", "transcription"),
        *("translation", "response", "message", "interaction", "decision", "extraction", "rerank"),
        *("ocr", "search", "realtime"),
    }
)
"""What a model makes. Created, only as the last word: `create_video` makes one, `create_video_job`
and `create_file` do not."""

_INFERENCE: Final = _MAKES | {"generation", "passthrough", "thread"}
"""Anywhere in a name that manages nothing: `arealtime`, `anthropic_messages`, `run_thread`."""

_TELLS: Final = frozenset(
    {"get", "retrieve", "fetch", "read", "download", "poll", "status", "content", "cancel"}
)
"""Tells again what became of something. What is cancelled is told of with what it had used."""

_MADE: Final = frozenset(
    {"response", "interaction", "video", "batch", "job", "run", "container", "file", "completion"}
)
"""What is ordered by one call and read by others."""

_RESULT: Final = "response"
_LATER: Final = frozenset({_RESULT, "interaction"})
"""What LiteLLM makes in the background and prices when it is done. A video has its whole price when
it is ordered, and a batch, a fine-tuning job, a container or a file when it is read or never."""
_LONGEST: Final = 128


def shape_of(call_type: str | None) -> Shape:
    """Return the shape of a call type; any text is one."""
    if not call_type or len(call_type) > _LONGEST:
        return Shape.UNKNOWN
    return _shape_of(call_type)


def reads_response(call_type: str | None) -> bool:
    """Say whether the call reads a response again, with the tokens that making it took."""
    if shape_of(call_type) is not Shape.MANAGEMENT:
        return False
    words = _words(call_type or "")
    return words[0] in {"get", "retrieve", "list"} and _RESULT in words


def reads(call_type: str | None) -> bool:
    """Say whether the call only tells again what another one has ordered."""
    if shape_of(call_type) is not Shape.MANAGEMENT:
        return False
    words = _words(call_type or "")
    return not _TELLS.isdisjoint(words) and (len(words) == 1 or not _MADE.isdisjoint(words))


def priced_later(call_type: str | None) -> bool:
    """Say whether the call is about something that may be made in the background."""
    if not call_type or len(call_type) > _LONGEST:
        return False
    return not _LATER.isdisjoint(_words(call_type))


@lru_cache(maxsize=1_024)
def _shape_of(call_type: str) -> Shape:
    words = _words(call_type)
    if not words:
        return Shape.UNKNOWN
    works = words[-1] == "generation" or not _WORKS.isdisjoint(words)
    if works and words[0] not in _MANAGES:
        return Shape.INFERENCE
    if not _MANAGES.isdisjoint(words):
        return Shape.MANAGEMENT
    if "create" in words:
        return Shape.INFERENCE if words[-1] in _MAKES else Shape.MANAGEMENT
    if not _INFERENCE.isdisjoint(words) or {"pass", "through"} <= set(words):
        return Shape.INFERENCE
    return Shape.UNKNOWN


@lru_cache(maxsize=1_024)
def _words(call_type: str) -> tuple[str, ...]:
    """Return the words of a name in the singular, without the `a` of what is asynchronous."""
    spread = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", call_type).lower()
    words = [_singular(word) for word in re.findall(r"[a-z0-9]+", spread)]
    if words and words[0] in {"a", "async"}:
        del words[0]
    if words and words[0].startswith("a") and words[0][1:] in _KNOWN:
        words[0] = words[0][1:]
    return tuple(words)


def _singular(word: str) -> str:
    return word if word == "status" or word.endswith("ss") else word.removesuffix("s")


_KNOWN: Final = _WORKS | _MANAGES | _INFERENCE | _MADE | {"create", "pass"}
