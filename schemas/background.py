"""Background responses: what the callbacks of one response share, and nothing else does.

A response made in the background is told of several times: by its create, which has used nothing
yet, and by each read of it, which repeats its whole cost under a new id, call id and trace. Ids are
encrypted anew for each event. What stays is in the `response` part of the callback; the gateway
keeps these fields where it cuts the content. Source: LiteLLM 1.106.12 to 1.110.2.
"""

from typing import Any, Final

import msgspec

from schemas.attribution import object_of, text_of
from schemas.callback import ContractError
from schemas.reader import Fields, fields_of, read_object

_PENDING: Final = frozenset({"queued", "in_progress"})
_ENDED: Final = frozenset({"failed", "cancelled"})


class _Response(msgspec.Struct, frozen=True, gc=False):
    """What is read of a response, of whatever type it is."""

    object: Any = None
    background: Any = None
    status: Any = None
    created_at: Any = None
    model: Any = None


class _Answered(msgspec.Struct, frozen=True, gc=False):
    """A callback as far as its response is concerned."""

    response: msgspec.Raw = msgspec.Raw()


RESPONSE_FIELDS: Final[Fields] = fields_of(_Response)
"""The fields of `response` that are kept whatever is cut. No prompt or answer is in them."""

_answered: Final = msgspec.json.Decoder(_Answered)
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


def read_response(callback: bytes) -> ResponseState:
    """Return what the response in `callback` says of itself; where it says nothing, nothing holds.

    Never raises: `callback` has been read once, and an odd `response` says nothing.
    """
    found = _found(callback)
    if found is None:
        return _UNKNOWN
    status = text_of(found.status)
    return ResponseState(
        background=found.background is True,
        pending=status in _PENDING,
        ended=status in _ENDED,
        created_at=text_of(found.created_at),
        model=text_of(found.model),
    )


def _found(callback: bytes) -> _Response | None:
    try:
        sent = bytes(_answered.decode(callback).response)
        if sent.startswith(b"{"):
            return _response.decode(sent)
        return _of_object(msgspec.json.decode(sent)) if sent.startswith(b'"') else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return _of_object(read_object(callback, {"response": RESPONSE_FIELDS}).get("response"))
    except ContractError:
        return None


def _of_object(value: object) -> _Response | None:
    found = object_of(value)
    if found is None:
        return None
    return _Response(**{name: found[name] for name in RESPONSE_FIELDS if name in found})
