"""The identity of a call and of its run: one rule for the gateway and the consumer.

CHARGE_RECEIPTS_IDEMPOTENT_BY_CALL_ID: the call key is the pair (`litellm_call_id`, `id`), `id`
alone where the first is absent, the batch id alone for `aretrieve_batch`. No optional field is
part of it.
ONE_RUN_ONE_PARTITION: the run id is the record's key.
"""

from typing import Final

import msgspec

from schemas.callback import Callback
from schemas.element import ContractError, Wire, check, read_wire
from schemas.plain import read_plain
from schemas.text import bounded, identifier

_RUN_ATTEMPT_DIGITS: Final = 9
_MAX_ATTEMPT: Final = 2_147_483_647


class Identity(msgspec.Struct, frozen=True, gc=False):
    """What a call is known by.

    `call_key` is the idempotency key. `run_id` keys the record; it is the call key where the call
    names no run, and then `attributed` is false. `attempt` counts from 0.
    """

    call_key: str
    run_id: str
    attempt: int
    attributed: bool


def _escaped(part: str) -> str:
    """Escape the separator, and NUL, which PostgreSQL refuses, so that no two pairs meet."""
    if part.isalnum():
        return part
    return part.replace("\\", "\\\\").replace("|", "\\|").replace("\x00", "\\0")


def _usable(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def call_key(litellm_call_id: object, response_id: str, call_type: object) -> str:
    """Return the idempotency key of a call: `<litellm_call_id>|<id>`, or `<id>` alone."""
    first = _usable(litellm_call_id)
    if first is None or call_type == "aretrieve_batch":
        return bounded(_escaped(response_id))
    return bounded(f"{_escaped(first)}|{_escaped(response_id)}")


def run_attempt(end_user: object) -> tuple[str, int] | None:
    """Return run and attempt of an `end_user` of the form `run/attempt`, else None."""
    run, _, attempt = end_user.rpartition("/") if isinstance(end_user, str) else ("", "", "")
    counted = attempt.isascii() and attempt.isdecimal() and len(attempt) <= _RUN_ATTEMPT_DIGITS
    return (run, int(attempt)) if counted and run.strip() else None


def _attempt(value: object) -> int | None:
    if isinstance(value, str) and value.isdecimal() and value.isascii() and len(value) < 11:  # noqa: PLR2004
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= _MAX_ATTEMPT else None


def identity(
    *,
    litellm_call_id: object,
    response_id: str,
    call_type: object,
    spend_logs_metadata: object,
    end_user: object,
) -> Identity:
    """Return the identity of a call from the fields that may name it, whatever their types."""
    key = call_key(litellm_call_id, response_id, call_type)
    spend = spend_logs_metadata if isinstance(spend_logs_metadata, dict) else {}
    attempt = _attempt(spend.get("attempt"))
    run = _usable(spend.get("run_id"))
    if run is None and (named := run_attempt(end_user)):
        run, attempt = named
    if run is None:
        return Identity(key, key, attempt or 0, attributed=False)
    return Identity(key, identifier(run), attempt or 0, attributed=True)


def identity_of(wire: Wire) -> Identity:
    """Return the identity of an element's fields. Raises `ContractError` (`no_usable_id`)."""
    response_id = _usable(wire.get("id"))
    if response_id is None:
        raise ContractError("no_usable_id", "an element needs a text in `id`")
    metadata = wire.get("metadata")
    return identity(
        litellm_call_id=wire.get("litellm_call_id"),
        response_id=response_id,
        call_type=wire.get("call_type"),
        spend_logs_metadata=metadata.get("spend_logs_metadata")
        if isinstance(metadata, dict)
        else None,
        end_user=wire.get("end_user"),
    )


def read_identified(element: bytes) -> tuple[Callback, Identity, bool]:
    """Read one element, check it, and say which call it is.

    Returns the callback, its identity, and whether strict JSON refused the bytes. Raises
    `ContractError`; its `reason` is one of those of `read_wire`, `identity_of` and `check`.
    """
    if callback := read_plain(element):
        return callback, _identity_of_plain(callback), False
    wire, lenient = read_wire(element)
    who = identity_of(wire)
    return check(wire), who, lenient


def _identity_of_plain(callback: Callback) -> Identity:
    if not callback.id.strip():
        raise ContractError("no_usable_id", "an element needs a text in `id`")
    return identity(
        litellm_call_id=callback.litellm_call_id,
        response_id=callback.id,
        call_type=callback.call_type,
        spend_logs_metadata=callback.metadata and callback.metadata.spend_logs_metadata,
        end_user=callback.end_user,
    )


def identify(element: bytes) -> Identity:
    """Read just enough of an element to know its keys.

    Raises `ContractError` (`unreadable`, `not_an_object`, `no_usable_id`): such an element belongs
    in the dead-letter topic. Does not check the rest of the contract.
    """
    wire, _ = read_wire(element)
    return identity_of(wire)
