"""The signature of an attribution: what of a call's names is signed, and in which form.

One form for every language, written down in docs/security.md. A signature stands in
`spend_logs_metadata` beside the names that it covers.
"""

import re
from typing import Final, NamedTuple

FIELD: Final = "billing_signature"
"""Its name in `spend_logs_metadata`."""
KEY_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,32}")
_FORM: Final = "billing-attribution-v1"
_SIGNATURE: Final = re.compile(r"v1:([A-Za-z0-9._-]{1,32}):([0-9a-f]{64})")


class Attribution(NamedTuple):
    """What a signature covers, in its order; None where the call does not say it.

    `account` is whom the client says is to pay.
    """

    run_id: str | None
    attempt: int
    graph_id: str | None
    sub_agent_id: str | None
    parent_sub_agent_id: str | None
    tool_call_id: str | None
    account: str | None


class Signature(NamedTuple):
    """By which key it was made, and the HMAC-SHA256 in hexadecimal."""

    key_id: str
    digest: str


def signature_of(text: str) -> Signature | None:
    """Return a text as a signature, `v1:KEY:DIGEST`; None where it is none."""
    found = _SIGNATURE.fullmatch(text)
    return Signature(found[1], found[2]) if found else None


def signed_bytes(key_id: str, said: Attribution) -> bytes:
    """Return the bytes that are signed: the form, the key's id and each value, one after another.

    Each is a netstring, `LENGTH:BYTES,` with its length in bytes of UTF-8; what is not said is
    `-,`. So no two attributions have the same bytes.
    """
    return b"".join(map(_netstring, (_FORM, key_id, *said)))


def _netstring(value: str | int | None) -> bytes:
    if value is None:
        return b"-,"
    # A client may send half a character.
    text = str(value).encode("utf-8", "surrogatepass")
    return b"%d:%b," % (len(text), text)
