"""The environment variables that the rooms share, and the rules by which all are read.

A secret may stand in a file: `NAME_FILE` holds its path. A variable of ours that nobody reads is
refused, because a misspelt price factor would otherwise be ignored in silence.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

FILE_SUFFIX: Final = "_FILE"
BILLING_VARIABLES: Final = frozenset({
    "BILLING_ACCOUNT_FROM",
    "BILLING_ATTRIBUTION_KEYS",
    "BILLING_BREAKDOWN_AFTER_HOURS",
    "BILLING_BREAKDOWN_MODELS",
    "BILLING_CREDITS",
    "BILLING_CREDIT_THRESHOLDS_USD",
    "BILLING_FAILED_HOLD_SECONDS",
    "BILLING_FREE_MODELS",
    "BILLING_INGEST_TOKEN",
    "BILLING_INGEST_TOKENS",
    "BILLING_INGEST_TOKEN_PREVIOUS",
    "BILLING_INTERNAL_ACCOUNT",
    "BILLING_MARKUP",
    "BILLING_NOT_BILLABLE_CALL_TYPES",
    "BILLING_SIGNED_ACCOUNTS_ONLY",
    "BILLING_TOPIC_PREFIX",
    "BILLING_TOPIC_REPLICATION_FACTOR",
    "BILLING_TRACES",
    "BILLING_UNATTRIBUTED_ACCOUNT",
    "BILLING_UNKNOWN_ACCOUNT",
})  # fmt: skip
"""Every `BILLING_*` variable that some room reads; one set may be given to all of them."""
_ESTIMATES: Final = ("ESTIMATE_", "ESTIMATED_")

STRICT: Final = SettingsConfigDict(
    extra="ignore",
    frozen=True,
    populate_by_name=True,
    env_ignore_empty=True,
    hide_input_in_errors=True,
)
"""How every room reads its settings. Variables of ours that nobody reads are refused by `read`."""

_SettingsT = TypeVar("_SettingsT", bound=BaseSettings)


class ConfigurationError(Exception):
    """The environment makes no configuration; the text says what to change and shows no secret."""


def is_text(value: str) -> bool:
    """Whether a value can be handed to a library: no NUL, no byte that was no UTF-8."""
    return "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)


def variables(settings: type[BaseSettings]) -> dict[str, str]:
    """Return the environment variable of each field: variable -> field."""
    return {(field.alias or name).upper(): name for name, field in settings.model_fields.items()}


def read(settings: type[_SettingsT], prefix: str, *ignored: str) -> _SettingsT:
    """Read `settings` from the environment and from the files that it names.

    `prefix` is the room's own (`CONSUMER_`): an unknown variable of it, or of `BILLING_`, is an
    error, except for `ignored`; so is one of `ESTIMATE_` where the room reads such. Raises
    `ConfigurationError`.
    """
    known = variables(settings)
    _refuse_unknown(os.environ, prefix, {*known, *ignored})
    try:
        return settings(**_from_files(os.environ, settings))
    except ValidationError as error:
        raise ConfigurationError("\n".join(_faults(error, known))) from None


def _faults(error: ValidationError, known: Mapping[str, str]) -> list[str]:
    names = {field: variable for variable, field in known.items()}
    missing, lines = list[str](), list[str]()
    for fault in error.errors(include_url=False, include_input=False):
        field = str(fault["loc"][0]) if fault["loc"] else ""
        message = fault["msg"].removeprefix("Value error, ")
        variable = names.get(field, field.upper())
        if fault["type"] == "missing":
            missing.append(variable)
        else:
            lines.append(f"{variable}: {message}" if variable else message)
    return [f"{' and '.join(sorted(missing, reverse=True))} must be set", *lines][not missing :]


def _refuse_unknown(environ: Mapping[str, str], prefix: str, known: set[str]) -> None:
    allowed = known | BILLING_VARIABLES
    prefixes = [prefix, "BILLING_"]
    # No other program's variables are refused by a room that reads none of these.
    prefixes += [one for one in _ESTIMATES if any(name.startswith(one) for name in known)]
    unknown = sorted(
        name
        for name in environ
        if name.startswith(tuple(prefixes))
        and name not in allowed
        and name.removesuffix(FILE_SUFFIX) not in allowed
    )
    if unknown:
        raise ConfigurationError(
            f"unknown variable {', '.join(unknown)}: it would be ignored. Correct or unset it; in "
            "Kubernetes set `enableServiceLinks: false`"
        )


def _unreadable(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"the file cannot be read: {error.strerror}"
    if isinstance(error, UnicodeDecodeError):
        return "the file is not UTF-8"
    return "this is not the path of a file"


def _from_files(environ: Mapping[str, str], settings: type[BaseSettings]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for variable, field in variables(settings).items():
        path = environ.get(variable + FILE_SUFFIX)
        if not path:
            continue
        if environ.get(variable):
            raise ConfigurationError(
                f"both {variable} and {variable}{FILE_SUFFIX} are set; unset one of them"
            )
        try:
            value = Path(path).read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            # Not the path: where somebody gave the secret itself, that is what it would show.
            raise ConfigurationError(f"{variable}{FILE_SUFFIX}: {_unreadable(error)}") from None
        values[settings.model_fields[field].alias or field] = value
    return values
