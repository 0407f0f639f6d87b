"""What a client says about its call: run, agents, tool, in `spend_logs_metadata`. Pure."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from schemas.attribution import is_there, object_of, text_of
from schemas.callback import Metadata
from schemas.identity import attempt_of
from schemas.signature import FIELD as SIGNATURE
from schemas.signature import signature_of


class Spend(NamedTuple):
    """The names in it that are there, as texts; `unreadable` where something cannot be read.

    `misspelt` are fields that stand where one with a right name is missing: `runId`, and what it
    should be. `hold` is the id of the spend guard's hold, which its plugin writes there;
    `refused` says that it wrote a refusal. `signature` is what stands there as one, "" where it is
    no text.
    """

    names: Mapping[str, str]
    unreadable: bool
    misspelt: Mapping[str, str]
    hold: str | None = None
    refused: bool = False
    attempt: int = 0
    signature: str | None = None


_NAMES: Final = frozenset(
    {"run_id", "graph_id", "sub_agent_id", "parent_sub_agent_id", "tool_call_id"}
)
ATTEMPT: Final = "attempt"
_RIGHT: Final = {name.replace("_", ""): name for name in (*_NAMES, ATTEMPT)}
_LONGEST: Final = 32
"""Characters of what may be a misspelling: a client chooses how many fields there are."""
_SEPARATORS: Final = re.compile(r"[\W_]")
HOLD: Final = "billing_hold"
_BESIDE: Final = frozenset({ATTEMPT, HOLD, SIGNATURE})
_THERE: Final = "?"
"""Stands for a text that cannot be read."""
_OTHER: Final = "other"
"""Says that there was more."""
REFUSED: Final = "refused"
"""What stands there of a call that the account could not afford."""
_HOLD: Final = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""What the guard makes; everything else is somebody else's."""
_NONE: Final[Mapping[str, str]] = {}
_NOTHING: Final = Spend({}, unreadable=False, misspelt=_NONE)


def spend_of(metadata: Metadata) -> Spend:
    """Read `spend_logs_metadata`, of whatever type it is.

    Where the client says nothing in it, its header is looked at: LiteLLM drops one that is no JSON.
    """
    said = metadata.spend_logs_metadata
    if said is None:
        return Spend({}, unreadable=True, misspelt=_NONE) if _was_dropped(metadata) else _NOTHING
    found = object_of(said)
    if found is None:
        return Spend({}, unreadable=is_there(said), misspelt=_NONE)
    attempt, hold = attempt_of(found.get(ATTEMPT)), found.get(HOLD)
    unreadable = attempt is None and is_there(found.get(ATTEMPT))
    texts, others = dict[str, str](), list[str]()
    for name, value in found.items():
        if value is None:
            continue
        if name in _NAMES:
            if (text := text_of(value)) is not None:
                texts[name] = text
            else:
                unreadable |= is_there(value)
        elif name not in _BESIDE:
            others.append(name)
    if found.keys() == {HOLD}:
        # The plugin wrote it, where the proxy had nothing of the client.
        unreadable = _was_dropped(metadata)
    return Spend(
        texts,
        unreadable,
        _misspelt(others, found) if others else _NONE,
        hold_of(hold),
        hold == REFUSED,
        attempt or 0,
        _signature(found[SIGNATURE]) if SIGNATURE in found else None,
    )


def without_content(said: object) -> object:
    """Return `spend_logs_metadata` with what `spend_of` reads of it, and nothing else.

    A client writes there whatever it likes.
    """
    found = object_of(said)
    if found is None:
        return emptied(said)
    kept: dict[str, object] = {}
    for name, value in found.items():
        if name in _NAMES:
            kept[name] = value if text_of(value) is not None else emptied(value)
        elif name == ATTEMPT:
            kept[name] = value if attempt_of(value) is not None else emptied(value)
        elif name == HOLD:
            kept[name] = value if hold_of(value) or value == REFUSED else emptied(value)
        elif name == SIGNATURE:
            kept[name] = value if signature_of(_signature(value) or "") else emptied(value)
    others = [name for name, value in found.items() if name not in kept and value is not None]
    kept |= dict.fromkeys(_misspelt(others, found), True)
    if kept.keys() != found.keys():
        kept[_OTHER] = None
    return kept


def emptied(value: object) -> object:
    """Return a value of the same JSON type that says as little as can be; numbers as they are."""
    match value:
        case dict():
            return {}
        case list():
            return []
        case str():
            return _THERE if is_there(value) else ""
    return value


def _was_dropped(metadata: Metadata) -> bool:
    """Whether the client sent a header that is no JSON object."""
    headers = metadata.requester_custom_headers
    sent = headers.spend_logs_metadata if headers else None
    return sent is not None and object_of(sent) is None and is_there(sent)


def _signature(value: object) -> str | None:
    if isinstance(value, str):
        return value if is_there(value) else None
    return "" if is_there(value) else None


def hold_of(value: object) -> str | None:
    """Return a value as the id of a hold; None where it is none that the guard makes."""
    return value if isinstance(value, str) and _HOLD.fullmatch(value) else None


def _misspelt(others: list[str], found: Mapping[str, object]) -> Mapping[str, str]:
    """Return which of `others` are the names that are missing, spelt in another way."""
    meant = {
        name: right
        for name in others
        if len(name) <= _LONGEST and (right := _RIGHT.get(_SEPARATORS.sub("", name).lower()))
    }
    return {name: right for name, right in meant.items() if found.get(right) is None}
