"""What of an environment is a stack's own: `. .run/env` leaves addresses that nobody chose.

A stack that took them for given would run on the parts of another one, or on none. So the
environment file carries a mark, and the run directory remembers: digests of what the stack made up
itself, by which it is known again wherever it turns up.
"""

from collections.abc import Collection, Iterable, Mapping, MutableMapping
from hashlib import sha256
from typing import Final

from demo.settings import StackSettings

MARK: Final = "STACK_OWN"
"""The variable of the environment file that holds the mark."""

PLACES: Final = frozenset({
    "KAFKA_BOOTSTRAP_SERVERS",
    "DATABASE_URL",
    "GATEWAY_PORT",
    "GATEWAY_METRICS_PORT",
    "GATEWAY_SPOOL_DIR",
    "CONSUMER_METRICS_PORT",
    "SPEND_GUARD_PORT",
    "SPEND_GUARD_METRICS_PORT",
    "LITELLM_PORT",
    "UPSTREAM_PORT",
})  # fmt: skip
"""The settings that two stacks cannot share without meeting each other."""

_SETTINGS: Final = frozenset(name.upper() for name in StackSettings.model_fields)
_DIGEST_CHARACTERS: Final = 16


def mark(values: Mapping[str, str], names: Collection[str]) -> str:
    """Return the mark that says: the values of these `names` are the stack's own."""
    return ",".join(_entry(name, values[name]) for name in sorted(names))


def owned(environment: Mapping[str, str], remembered: Iterable[str] = ()) -> set[str]:
    """Return the variables whose values a stack made up; the mark itself is one of them.

    A variable that somebody has set anew since is not among them.

    Args:
        environment: of a process, with a mark or without.
        remembered: further marks, of stacks that wrote their file earlier.
    """
    marks = [environment.get(MARK, ""), *remembered]
    entries = {entry for text in marks for entry in text.split(",") if entry}
    found = {name for name, value in environment.items() if _entry(name, value) in entries}
    return found | ({MARK} & environment.keys())


def disown(environment: MutableMapping[str, str], remembered: Iterable[str] = ()) -> list[str]:
    """Take a stack's own out of `environment`.

    Returns:
        The settings of a stack that were among it, sorted, for a person to be told.
    """
    return _remove(environment, owned(environment, remembered))


def stand_apart(environment: MutableMapping[str, str]) -> list[str]:
    """Take every place out of `environment`, whoever chose it; return their names, sorted."""
    return _remove(environment, PLACES & environment.keys())


def _remove(environment: MutableMapping[str, str], names: Iterable[str]) -> list[str]:
    gone = sorted(names)
    for name in gone:
        del environment[name]
    return [name for name in gone if name in _SETTINGS]


def _entry(name: str, value: str) -> str:
    digest = sha256(f"{name}={value}".encode("utf-8", "surrogateescape")).hexdigest()
    return f"{name}:{digest[:_DIGEST_CHARACTERS]}"
