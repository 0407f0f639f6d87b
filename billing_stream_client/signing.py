"""Signing whose a call is, so that the billing can tell the names from what somebody else wrote."""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from billing_stream_client.names import WrongInputError, attempt_of, name_of, run_of

SIGNATURE: Final = "billing_signature"
"""Where it stands in `spend_logs_metadata`."""

_FORM: Final = "billing-attribution-v1"
_NAMES: Final = ("graph_id", "sub_agent_id", "parent_sub_agent_id", "tool_call_id")
_KEY_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,32}")
_MIN_SECRET: Final = 32


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key of the operator's. `of` makes it of `id=secret`, as the operator's setting has it."""

    key_id: str
    secret: str = field(repr=False)

    @classmethod
    def of(cls, text: object) -> Self:
        """Return the key that `id=secret` is. Raises `WrongInputError`, which shows none of it."""
        key_id, _, secret = text.partition("=") if isinstance(text, str) else ("", "", "")
        if not _KEY_ID.fullmatch(key_id):
            raise WrongInputError(
                "a signing key is written id=secret; an id has at most 32 letters, digits, '.', "
                "'_' or '-'"
            )
        if len(secret) < _MIN_SECRET or not (secret.isascii() and secret.isprintable()):
            raise WrongInputError(
                f"the secret of a signing key has at least {_MIN_SECRET} characters of printable "
                "ASCII"
            )
        return cls(key_id, secret)


def signed(
    metadata: Mapping[str, Any], key: str | SigningKey, account: str | None = None
) -> dict[str, Any]:
    """Return `metadata`, which goes into `x-litellm-spend-logs-metadata`, with its signature.

    Signed are `run_id`, `attempt`, `graph_id`, `sub_agent_id`, `parent_sub_agent_id` and
    `tool_call_id`, as far as they are there, and the account; other fields are not. Whoever changes
    one of them afterwards makes the signature a forged one.

    Args:
        metadata: the names of a call; texts, and `attempt` a whole number.
        key: of the operator's, `id=secret`.
        account: who pays, as in `x-litellm-end-user-id` or in the body's `user`; None where the
            program names nobody.

    Raises:
        WrongInputError: a name or the key would not be read as it is meant.
    """
    held = key if isinstance(key, SigningKey) else SigningKey.of(key)
    said: list[str | None] = [run_of(metadata.get("run_id"))]
    said.append(str(attempt_of(metadata.get("attempt", 0))))
    for name in _NAMES:
        value = metadata.get(name)
        said.append(None if value is None else name_of(name, value))
    said.append(None if account is None else name_of("account", account))
    signed_bytes = b"".join(map(_netstring, (_FORM, held.key_id, *said)))
    digest = hmac.digest(held.secret.encode(), signed_bytes, "sha256").hex()
    return {**metadata, SIGNATURE: f"v1:{held.key_id}:{digest}"}


def _netstring(value: str | None) -> bytes:
    if value is None:
        return b"-,"
    text = value.encode()
    return b"%d:%b," % (len(text), text)
