"""Names of runs, agents and tools: only those that the billing reads as they are meant."""

import re
import unicodedata
from typing import Final

MAX_NAME: Final = 512
"""Characters: what a usage unit may have."""
MAX_NAME_BYTES: Final = 1_024
"""In UTF-8: over it the ledger keeps a beginning and a checksum."""
MAX_ATTEMPT: Final = 999_999_999
"""Both forms take it: the metadata, and `run/attempt`."""

_ATTEMPT_DIGITS: Final = 9
_MISSING: Final = frozenset(
    {"none", "null", "nil", "nan", "undefined", "[object object]", "default_user_id"}
)
"""What programs write where they had no name; the last one is LiteLLM's."""
_BLOB: Final = re.compile(r"""["']?\s*[{\[]""")
_OBJECT: Final = re.compile(r"<.* at 0x[0-9A-Fa-f]+>")
_SHORTENED: Final = re.compile(r"~sha256-[0-9a-f]{64}")
_SHORTENED_AT: Final = 200


class WrongInputError(ValueError):
    """The billing would not read this as it is meant; the text says what to write instead."""


def name_of(what: str, value: object) -> str:
    """Return `value`, which names `what`. Raises `WrongInputError`."""
    if not isinstance(value, str):
        raise WrongInputError(f"{what} must be text, and is {_kind(value)}")
    if not value.strip():
        raise WrongInputError(f"{what} is empty")
    if value != value.strip():
        raise WrongInputError(f"{what} begins or ends with white space: {value!r}")
    if any(unicodedata.category(one) in {"Cc", "Cs"} for one in value):
        raise WrongInputError(f"{what} holds a control character or half a character: {value!r}")
    if len(value) > MAX_NAME or len(value.encode()) > MAX_NAME_BYTES:
        raise WrongInputError(
            f"{what} is longer than {MAX_NAME} characters or {MAX_NAME_BYTES:,} bytes: "
            f"{value[:40]!r} and more"
        )
    if value.casefold() in _MISSING or _OBJECT.fullmatch(value):
        raise WrongInputError(f"{what} is {value!r}, which programs write where a name is missing")
    if _BLOB.match(value):
        raise WrongInputError(f"{what} is no name, it holds JSON or a list: {value[:40]!r}")
    if _SHORTENED.fullmatch(value, _SHORTENED_AT):
        raise WrongInputError(f"{what} has the form that billing gives to names that are too long")
    return value


def run_of(value: object) -> str:
    """Return the id of a run. Raises `WrongInputError`, also for a `run/attempt`."""
    run = name_of("run_id", value)
    if named := run_attempt(run):
        raise WrongInputError(
            f"run_id {run!r} reads as attempt {named[1]} of the run {named[0]!r}: give the run "
            f"alone, and attempt={named[1]}"
        )
    return run


def attempt_of(value: object) -> int:
    """Return which attempt of a run it is, counted from 0. Raises `WrongInputError`."""
    if type(value) is not int or not 0 <= value <= MAX_ATTEMPT:
        raise WrongInputError(
            f"attempt must be a whole number from 0 to {MAX_ATTEMPT:,}, and is {value!r}"
        )
    return value


def end_user_of(run_id: str, attempt: int = 0) -> str:
    """Return `run/attempt`, for frameworks that let nothing through but `user`.

    `run_attempt` gives both back, and so does the billing. Raises `WrongInputError`.
    """
    return f"{run_of(run_id)}/{attempt_of(attempt)}"


def run_attempt(end_user: object) -> tuple[str, int] | None:
    """Return run and attempt of a `run/attempt`; None for anything else, as the billing does."""
    run, _, attempt = end_user.rpartition("/") if isinstance(end_user, str) else ("", "", "")
    counted = attempt.isascii() and attempt.isdecimal() and len(attempt) <= _ATTEMPT_DIGITS
    return (run, int(attempt)) if counted and run.strip() else None


def _kind(value: object) -> str:
    return "missing" if value is None else f"of the type {type(value).__name__}"
