"""What a client says about its call: run, agents, tool, in `spend_logs_metadata`. Pure."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from schemas.attribution import is_there, object_of, text_of
from schemas.identity import attempt_of


class Spend(NamedTuple):
    """The names in it that are there, as texts; `unreadable` where something cannot be read."""

    names: Mapping[str, str]
    unreadable: bool


_NAMES: Final = frozenset(
    {"run_id", "graph_id", "sub_agent_id", "parent_sub_agent_id", "tool_call_id"}
)
_NOTHING: Final = Spend({}, unreadable=False)


def spend_of(said: object) -> Spend:
    """Read `spend_logs_metadata`, of whatever type it is."""
    if said is None:
        return _NOTHING
    found = object_of(said)
    if found is None:
        return Spend({}, unreadable=is_there(said))
    texts, unreadable = dict[str, str](), False
    for name, value in found.items():
        if value is None:
            continue
        if name in _NAMES:
            if (text := text_of(value)) is not None:
                texts[name] = text
            else:
                unreadable |= is_there(value)
        elif name == "attempt" and attempt_of(value) is None:
            unreadable |= is_there(value)
    return Spend(texts, unreadable)
