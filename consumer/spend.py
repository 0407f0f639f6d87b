"""What a client says about its call: run, agents, tool, in `spend_logs_metadata`. Pure."""

from typing import Final, NamedTuple

from schemas.attribution import is_there, object_of, text_of
from schemas.identity import attempt_of


class Spend(NamedTuple):
    """The names in it as texts; `unreadable` where something was said that cannot be read."""

    run_id: str | None = None
    graph_id: str | None = None
    sub_agent_id: str | None = None
    parent_sub_agent_id: str | None = None
    tool_call_id: str | None = None
    unreadable: bool = False


_NAMES: Final = Spend._fields[:-1]
_NOTHING: Final = Spend()


def spend_of(said: object) -> Spend:
    """Read `spend_logs_metadata`, of whatever type it is."""
    if said is None:
        return _NOTHING
    found = object_of(said)
    if found is None:
        return Spend(unreadable=is_there(said))
    texts, unreadable = list[str | None](), False
    for name in _NAMES:
        text = None
        if (value := found.get(name)) is not None and (text := text_of(value)) is None:
            unreadable |= is_there(value)
        texts.append(text)
    if (attempt := found.get("attempt")) is not None and attempt_of(attempt) is None:
        unreadable |= is_there(attempt)
    return Spend(*texts, unreadable=unreadable)
