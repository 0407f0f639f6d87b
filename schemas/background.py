"""Background responses: what the callbacks of one response share, and nothing else does.

A response made in the background is told of several times: by its create, which has used nothing
yet, and by each read of it, which repeats its whole cost under a new id, call id and trace. Ids are
encrypted anew for each event. What stays is in the `response` part of the callback; the gateway
keeps these fields where it cuts the content. Source: LiteLLM 1.106.12 to 1.110.2.
"""

from typing import Any, Final, TypedDict

import msgspec

from schemas.attribution import object_of, text_of
from schemas.element import ContractError, Fields, read_leniently

RESPONSE_FIELDS: Final[Fields] = dict.fromkeys(
    ("object", "background", "status", "created_at", "model")
)
"""The fields of `response` that are kept whatever is cut. No prompt or answer is in them."""

_PENDING: Final = frozenset({"queued", "in_progress"})
_ENDED: Final = frozenset({"failed", "cancelled"})


class _Response(TypedDict, total=False):
    background: Any
    status: Any
    created_at: Any
    model: Any


class _Wire(TypedDict, total=False):
    response: msgspec.Raw


_element: Final = msgspec.json.Decoder(_Wire)
_response: Final = msgspec.json.Decoder(_Response)


class ResponseState(msgspec.Struct, frozen=True, gc=False):
    """What a response says of itself. `created_at` and `model` are texts, None where unknown.

    `pending`: it is still to be made. `ended`: it was given up and costs nothing more.
    """

    background: bool
    pending: bool
    ended: bool
    created_at: str | None
    model: str | None


_UNKNOWN: Final = ResponseState(False, False, False, None, None)


def read_response(element: bytes) -> ResponseState:
    """Return what the response in `element` says of itself; where it says nothing, nothing holds.

    Never raises: `element` has been read once, and an odd `response` says nothing.
    """
    found = _object(element)
    if found is None:
        return _UNKNOWN
    status = text_of(found.get("status"))
    return ResponseState(
        background=found.get("background") is True,
        pending=status in _PENDING,
        ended=status in _ENDED,
        created_at=text_of(found.get("created_at")),
        model=text_of(found.get("model")),
    )


def _object(element: bytes) -> dict[str, Any] | None:
    try:
        raw = _element.decode(element).get("response")
        return None if raw is None else _decoded(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        wire = read_leniently(element, {"response": RESPONSE_FIELDS})
    except ContractError:
        return None
    return object_of(wire.get("response"))


def _decoded(raw: msgspec.Raw) -> dict[str, Any] | None:
    text = bytes(raw)
    if text.startswith(b"{"):
        return dict(_response.decode(text))
    return object_of(msgspec.json.decode(text)) if text.startswith(b'"') else None
