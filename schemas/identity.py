"""The identity of a call and of its run: one rule for the gateway and the consumer.

CHARGE_RECEIPTS_IDEMPOTENT_BY_CALL_ID: the call key is the pair (`litellm_call_id`, `id`), one of
them alone where the other is absent or no text, the batch id alone for `aretrieve_batch`. No
optional field is part of it.
ONE_RUN_ONE_PARTITION: the run id is the record's key.
"""

from typing import Final

from schemas.attribution import object_of, text_of
from schemas.callback import ContractError, Identity, NamedCall
from schemas.headers import Reason
from schemas.text import bounded, identifier

_RUN_ATTEMPT_DIGITS: Final = 9
_ATTEMPT_DIGITS: Final = 10
_MAX_ATTEMPT: Final = 2_147_483_647
BATCH_RETRIEVES: Final = frozenset({"aretrieve_batch", "retrieve_batch"})
"""Each retrieve of a finished batch repeats its whole cost; the batch id is the call key."""


def _escaped(part: str) -> str:
    """Escape the separator, and NUL, which PostgreSQL refuses, so that no two pairs meet."""
    if "|" in part or "\\" in part or "\x00" in part:
        return part.replace("\\", "\\\\").replace("|", "\\|").replace("\x00", "\\0")
    return part


def call_key(litellm_call_id: object, response_id: object, call_type: object) -> str:
    """Return the idempotency key of a call: `<litellm_call_id>|<id>`, or one of them alone.

    Raises `ContractError` (`no_usable_id`) where neither can be used.
    """
    retrieves = _retrieves(call_type)
    return _key(text_of(litellm_call_id), text_of(response_id), retrieves=retrieves)


def _retrieves(call_type: object) -> bool:
    return isinstance(call_type, str) and call_type in BATCH_RETRIEVES


def _key(first: str | None, second: str | None, *, retrieves: bool) -> str:
    # Each retrieve of a batch has a call id of its own, and repeats the whole cost.
    if first is None or retrieves:
        if second is None:
            raise ContractError(
                Reason.NO_USABLE_ID, "neither `id` nor `litellm_call_id` names the call"
            )
        return bounded(_escaped(second))
    if second is None:
        return bounded(_escaped(first))
    return bounded(f"{_escaped(first)}|{_escaped(second)}")


def read_key(litellm_call_id: object, response_id: object) -> str:
    """Return by what a read is known that tells nothing else of what it reads: the thing's id.

    The call's own id where it has none. No call has such a key. Raises `ContractError`
    (`no_usable_id`).
    """
    thing = text_of(response_id)
    return f"read||{_key(None if thing else text_of(litellm_call_id), thing, retrieves=False)}"


def run_attempt(end_user: object) -> tuple[str, int] | None:
    """Return run and attempt of an `end_user` of the form `run/attempt`, else None."""
    run, _, attempt = end_user.rpartition("/") if isinstance(end_user, str) else ("", "", "")
    counted = attempt.isascii() and attempt.isdecimal() and len(attempt) <= _RUN_ATTEMPT_DIGITS
    return (run, int(attempt)) if counted and run.strip() else None


def attempt_of(value: object) -> int | None:
    """Return a count of attempts; None where the value is none."""
    if type(value) is int:
        return value if 0 <= value <= _MAX_ATTEMPT else None
    text = text_of(value)
    if text is None or not (text.isascii() and text.isdecimal()) or len(text) > _ATTEMPT_DIGITS:
        return None
    attempt = int(text)
    return attempt if attempt <= _MAX_ATTEMPT else None


def identity_of(call: NamedCall) -> Identity:
    """Return the identity of a call. Raises `ContractError` (`no_usable_id`)."""
    first, second = text_of(call.litellm_call_id), text_of(call.id)
    retrieves = _retrieves(call.call_type)
    key = _key(first, second, retrieves=retrieves)
    half = (first is None or second is None) and not retrieves
    spend = object_of(call.metadata.spend_logs_metadata) if call.metadata else None
    attempt = run = None
    if spend:
        attempt, run = attempt_of(spend.get("attempt")), text_of(spend.get("run_id"))
    if run is None and (named := run_attempt(call.end_user)):
        run, attempt = named
    if run is None:
        return Identity(key, key, attempt or 0, attributed=False, half_key=half)
    return Identity(key, identifier(run), attempt or 0, attributed=True, half_key=half)
