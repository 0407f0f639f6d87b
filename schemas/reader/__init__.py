"""Reading a callback: from the bytes that LiteLLM sent to the declared type, every digit kept.

Nearly all callbacks are well-formed: they take the fast path, one pass of msgspec. What that
refuses takes the thorough path, field by field, which says what is wrong with it or reads it all
the same. What both take, both read alike. Where a key occurs twice, the last one counts.
"""

import msgspec

from schemas.callback import Callback, ContractError, Identity, NamedCall
from schemas.headers import Reason
from schemas.identity import identity_of
from schemas.reader.fast_path import identify_fast, read_fast
from schemas.reader.json_text import is_strict_json, is_utf8
from schemas.reader.thorough_path import (
    BILLING_FIELDS,
    Fields,
    Values,
    fields_of,
    fitting,
    read_object,
    read_values,
    sent_cost,
)

__all__ = [
    "BILLING_FIELDS",
    "Fields",
    "Reading",
    "Values",
    "fields_of",
    "identify",
    "identify_fast",
    "is_strict_json",
    "is_utf8",
    "read_callback",
    "read_fast",
    "read_object",
    "read_thoroughly",
    "read_values",
]


class Reading(msgspec.Struct, frozen=True, gc=False):
    """A callback, which call it is, and what was odd about it.

    `lenient`: strict JSON refused the bytes. `sent_cost` is the text of a cost that is no money;
    the callback has none then. `dropped` are the fields, by their path, whose values could not be
    read; the callback has none there either.
    """

    callback: Callback
    identity: Identity
    lenient: bool = False
    sent_cost: str | None = None
    dropped: frozenset[str] = frozenset()


def read_callback(callback: bytes) -> Reading:
    """Read one callback, hold it against the contract, and say which call it is.

    Raises `ContractError` (`unreadable`, `not_an_object`, `no_usable_id`, `contract_broken`).
    """
    if found := read_fast(callback):
        return Reading(found, identity_of(found))
    return read_thoroughly(callback)


def read_thoroughly(callback: bytes) -> Reading:
    """Do the same on the thorough path, which takes any callback, at several times the cost.

    Fields that billing does not need are dropped where their type is wrong, and so is a cost that
    is no money. Raises as `read_callback` does.
    """
    values, lenient = read_values(callback)
    odd = set[str]()
    fields = fitting(Callback, values, odd)
    names = {name: fields[name] for name in NamedCall.__struct_fields__ if name in fields}
    identity = identity_of(NamedCall(**names))
    if "status" not in fields:
        # The only field without which there is no callback; the texts are on dead letters.
        wrong = "status" in odd
        detail = "Input should be a valid string" if wrong else "Field required"
        raise ContractError(Reason.CONTRACT_BROKEN, detail)
    sent = sent_cost(callback) if "response_cost" in odd else None
    odd.discard("response_cost")
    return Reading(Callback(**fields), identity, lenient, sent, frozenset(odd))


def identify(callback: bytes) -> Identity:
    """Read just enough of any callback to know its keys.

    Raises `ContractError` (`unreadable`, `not_an_object`, `no_usable_id`): such a callback belongs
    in the dead-letter topic. Does not check the rest of the contract.
    """
    values, _ = read_values(callback)
    return identity_of(NamedCall(**fitting(NamedCall, values, set())))
