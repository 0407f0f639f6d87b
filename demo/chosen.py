"""Settings of the caller with which the demo could not show what it says: it goes without them."""

from collections.abc import Mapping, MutableMapping
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from demo.calls import DEAR, plan
from demo.process import StackError
from demo.signing import KEYS

MARKUP: Final = "BILLING_MARKUP"
FREE_MODELS: Final = "BILLING_FREE_MODELS"
_FILE: Final = "_FILE"

FOREIGN: Final = frozenset({
    "BILLING_ACCOUNT_FROM",  # its calls name their accounts as end users
    "BILLING_CREDITS",
    "BILLING_NOT_BILLABLE_CALL_TYPES",
    "BILLING_SIGNED_ACCOUNTS_ONLY",  # most of its calls are signed by nobody
    "BILLING_UNKNOWN_ACCOUNT",
    "SPEND_GUARD_HOLD_S",  # its holds live until their receipts come
    "SPEND_GUARD_LONGEST_HOLD_S",
    "SPEND_GUARD_TIMEOUT_MS",  # its calls wait for the guard, also on a machine that is busy
})  # fmt: skip
"""What the calls of the demo depend on, whatever it is for other calls."""

PAID: Final = frozenset({DEAR, *(call.model for call in plan() if call.outcome == "deferred")})
"""Models whose calls are not what they should be where the models are declared free."""


def leave(environment: MutableMapping[str, str]) -> list[str]:
    """Take out of `environment` what the demo goes without; return a sentence for each kind.

    The markup, the free models and the keys are read from their files, where it names such. Raises
    `StackError` where a file cannot be read.
    """
    for name in (MARKUP, FREE_MODELS, KEYS):
        _read_file(environment, name)
    said = []
    both = {name + suffix for name in FOREIGN for suffix in ("", _FILE)}
    if names := sorted(name for name in both if environment.pop(name, "")):
        said.append(f"not taken from the environment: {', '.join(names)}: the demo needs its own")
    if patterns := _take_paid(environment):
        said.append(
            f"not taken from {FREE_MODELS}: {', '.join(patterns)}: the demo shows what becomes of "
            f"calls of {' and '.join(sorted(PAID))}, which are not free"
        )
    return said


def markup(environment: Mapping[str, str]) -> Decimal:
    """Return what costs are multiplied by; the rooms have refused what is no number."""
    return Decimal(environment.get(MARKUP) or 1)


def _read_file(environment: MutableMapping[str, str], name: str) -> None:
    path = environment.get(name + _FILE)
    if not path or environment.get(name):
        return  # the rooms refuse both
    try:
        environment[name] = Path(path).read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise StackError(f"{name}{_FILE}: the file cannot be read: {error}") from error
    del environment[name + _FILE]


def _take_paid(environment: MutableMapping[str, str]) -> list[str]:
    """Take out the patterns that a model of `PAID` fits; return them."""
    patterns = [part.strip() for part in environment.get(FREE_MODELS, "").split(",")]
    taken = [one for one in patterns if any(fnmatchcase(model, one) for model in PAID)]
    if taken:
        environment[FREE_MODELS] = ",".join(one for one in patterns if one not in taken)
    return taken
