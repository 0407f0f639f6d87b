"""The request headers by which LiteLLM learns whose a call is, and the one that it answers with."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NoReturn

from billing_stream_client.names import WrongInputError, attempt_of, name_of, run_attempt, run_of
from billing_stream_client.signing import SIGNATURE, SigningKey, signed
from billing_stream_client.unit import Unit

METADATA: Final = "x-litellm-spend-logs-metadata"
END_USER: Final = "x-litellm-end-user-id"
TAGS: Final = "x-litellm-tags"
CALL_ID: Final = "x-litellm-call-id"

MAX_HEADER: Final = 4_096
"""Bytes of a value: servers and balancers begin to refuse at 8 KiB a line."""
MAX_TAGS: Final = 90
"""A receipt keeps a hundred, and LiteLLM adds some of its own."""
MAX_TAG: Final = 200

_NAMES: Final = ("run_id", "graph_id", "sub_agent_id", "parent_sub_agent_id", "tool_call_id")
_KNOWN: Final = {re.sub("_", "", name): name for name in (*_NAMES, "attempt")}


def metadata_header(
    unit: Unit,
    extra: Mapping[str, object],
    key: SigningKey | None = None,
    account: str | None = None,
) -> str:
    """Return the value of `x-litellm-spend-logs-metadata`: JSON in ASCII.

    Args:
        unit: its run, agents and tool; their names are checked already.
        extra: what the program wants to find in LiteLLM's own tables.
        key: signs them, with the account.
        account: who pays, as the request says it.

    Raises:
        WrongInputError: `extra` says what billing would not read, or cannot be sent.
    """
    for name in extra:
        if not isinstance(name, str):
            raise WrongInputError(f"a name in metadata must be text, and is {name!r}")
        if (meant := _meant(name)) is not None:
            raise WrongInputError(
                f"metadata says {name!r}: billing reads `{meant}`, which has an argument of its own"
            )
        if name == SIGNATURE:
            raise WrongInputError(f"metadata says {name!r}: give the run a signing_key instead")
    named = {name: value for name, value in unit.row().items() if name in _KNOWN.values()}
    if key is not None:
        named = signed(named, key, account)
    return _bounded(METADATA, _json({**named, **extra}))


def account_header(account: object) -> str:
    """Return the value of `x-litellm-end-user-id`: who pays. Raises `WrongInputError`."""
    return _bounded(END_USER, _ascii("account", account_of(account)))


def account_of(account: object) -> str:
    """Return the name of who pays. Raises `WrongInputError`."""
    name = name_of("account", account)
    if named := run_attempt(name):
        raise WrongInputError(
            f"account {name!r} reads as attempt {named[1]} of the run {named[0]!r}, which pays "
            "nothing"
        )
    return name


def tags_of(tags: object) -> tuple[str, ...]:
    """Return tags that LiteLLM reads as they are meant. Raises `WrongInputError`."""
    if isinstance(tags, str | bytes) or not isinstance(tags, Iterable):
        raise WrongInputError(f"tags must be a list of texts, and is {tags!r}")
    return tuple(_tag(tag) for tag in tags)


def tags_header(tags: Sequence[str]) -> str | None:
    """Return the value of `x-litellm-tags`, None where there is none. Raises `WrongInputError`."""
    if len(tags) > MAX_TAGS:
        raise WrongInputError(f"there are {len(tags)} tags; a call can have {MAX_TAGS}")
    return _bounded(TAGS, ",".join(tags)) if tags else None


def check_headers(headers: object) -> None:
    """Check headers that a program wrote by itself. Raises `WrongInputError` with what is wrong.

    Args:
        headers: a mapping or pairs; names in any case. Others than those of this module may be
            there.
    """
    found = {name: value for name, value in pairs_of(headers) if name in {METADATA, END_USER, TAGS}}
    if TAGS in found:
        tags_header(tags_of([tag.strip() for tag in found[TAGS].split(",")]))
    named = run_attempt(found.get(END_USER)) is not None
    if END_USER in found and not named:
        account_header(found[END_USER])
    if METADATA in found:
        _check_metadata(found[METADATA], named=named)
    elif not named:
        raise WrongInputError(f"run id missing: there is no header {METADATA}")


def call_id_of(headers: object) -> str | None:
    """Return LiteLLM's id of the call out of a response's headers; None where it is not there.

    Takes a mapping, or pairs, of texts or bytes; names in any case.
    """
    found = [value.strip() for name, value in pairs_of(headers) if name == CALL_ID]
    return found[-1] if found and found[-1] else None


def pairs_of(headers: object) -> Iterator[tuple[str, str]]:
    """Yield names, in small letters, and values of headers as the libraries have them."""
    items = getattr(headers, "items", None)
    pairs = items() if callable(items) else headers
    if not isinstance(pairs, Iterable):
        raise WrongInputError(f"headers must be a mapping or pairs, not {type(headers).__name__}")
    for name, value in pairs:
        yield _text(name).lower(), _text(value)


def _check_metadata(text: str, *, named: bool) -> None:
    try:
        said = json.loads(text, parse_constant=_not_finite)
    except (ValueError, RecursionError) as error:
        raise WrongInputError(f"{METADATA} is no JSON, so LiteLLM drops it: {error}") from None
    if not isinstance(said, dict):
        raise WrongInputError(f"{METADATA} must be a JSON object, and is {text[:40]!r}")
    for name in said:
        meant = _meant(name)
        if meant is not None and meant != name and meant not in said:
            what = "run id missing: metadata" if meant == "run_id" else "metadata"
            raise WrongInputError(f"{what} says `{name}`; write `{meant}`")
    for name in _NAMES:
        if said.get(name) is not None:
            name_of(name, said[name])
    if said.get("run_id") is not None:
        run_of(said["run_id"])
    elif not named:
        raise WrongInputError("run id missing: metadata has no `run_id`")
    if said.get("attempt") is not None:
        attempt_of(said["attempt"])
    _json(said)  # A number such as 1e400 is read, and is none.
    _bounded(METADATA, _ascii(METADATA, text))


def _json(value: object) -> str:
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise WrongInputError(f"metadata cannot be written as JSON: {error}") from None


def _not_finite(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _meant(name: str) -> str | None:
    """Return the name that billing reads which `name` is, or is a misspelling of."""
    return _KNOWN.get(re.sub(r"[\W_]", "", name).lower())


def _tag(tag: object) -> str:
    text = _ascii("a tag", name_of("a tag", tag))
    if "," in text:
        raise WrongInputError(f"a tag cannot hold a comma, which ends it: {text!r}")
    if len(text) > MAX_TAG:
        raise WrongInputError(f"a tag has at most {MAX_TAG} characters: {text[:40]!r} and more")
    return text


def _ascii(what: str, text: str) -> str:
    if not (text.isascii() and text.isprintable()):
        raise WrongInputError(
            f"{what} is sent as a header, where only printable ASCII arrives as it is: {text!r}"
        )
    return text


def _bounded(what: str, text: str) -> str:
    if len(text) > MAX_HEADER:
        raise WrongInputError(
            f"{what} would have {len(text):,} bytes; servers refuse headers, so it may have "
            f"{MAX_HEADER:,}"
        )
    return text


def _text(value: Any) -> str:  # noqa: ANN401 - headers of any library
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
