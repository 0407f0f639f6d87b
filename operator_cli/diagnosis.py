"""What the answers of a proxy, a gateway, Kafka and PostgreSQL say of an installation.

Pure: what was asked is in the arguments, and each finding says what to do.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

_LOGGER: Final = "GenericAPILogger"
"""The class of LiteLLM's callback, whatever name the configuration gives to it."""
_OLDEST: Final = (1, 80, 6)
_LOSES: Final = (1, 108)
"""From this release on, LiteLLM loses no event of a POST that takes long."""
_VERSION: Final = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
_CLOCKS: Final = timedelta(seconds=30)
_STORED: Final = 202
_UNKNOWN_TOKEN: Final = 401
_NO_ROUTE: Final = frozenset({404, 405})
_NOT_STORED: Final = 503
_OK: Final = 200
_KEY_REFUSED: Final = frozenset({400, 401, 403})
"""400: a proxy without a database knows no key but its master key, and answers so to any other."""


class State(StrEnum):
    """How good a finding is."""

    FINE = "fine"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `step` says what to do, and is empty where nothing is."""

    part: str
    state: State
    said: str
    step: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an HTTP server said: status, body if it is a JSON object, and the time by its clock."""

    status: int
    body: Mapping[str, Any]
    at: datetime | None


def of_proxy(details: Answer, callbacks: Answer) -> Iterator[Finding]:
    """Judge a LiteLLM proxy by `/health/readiness/details` and `/active/callbacks`."""
    part = "LiteLLM"
    if {details.status, callbacks.status} & _KEY_REFUSED:
        yield Finding(
            part,
            State.FAULT,
            "the key is refused",
            "put the proxy's master key into LITELLM_API_KEY",
        )
        return
    yield _version(str(details.body.get("litellm_version", "")))
    yield _callback(callbacks)
    if details.body.get("db") != "connected":
        yield Finding(
            part,
            State.WARNING,
            f"its database: {details.body.get('db', 'not known')}",
            "without one it has no spend log, so nobody can find calls whose callback was lost",
        )


def _version(said: str) -> Finding:
    found = _VERSION.match(said)
    if found is None:
        return Finding("LiteLLM", State.WARNING, "it does not tell its version")
    number = tuple(int(part or 0) for part in found.groups())
    if number < _OLDEST:
        return Finding(
            "LiteLLM",
            State.FAULT,
            f"version {said} cannot name the callback in callback_settings",
            "update LiteLLM: docs/litellm.md names the releases that were tried",
        )
    if number < _LOSES:
        return Finding(
            "LiteLLM",
            State.WARNING,
            f"version {said} loses events while a POST takes long",
            "update LiteLLM to 1.108 or newer",
        )
    return Finding("LiteLLM", State.FINE, f"version {said}")


def _callback(answer: Answer) -> Finding:
    listed = answer.body.get("all_litellm_callbacks", [])
    if answer.status != _OK or not isinstance(listed, list):
        return Finding("LiteLLM", State.WARNING, "it does not tell its callbacks")
    if any(_LOGGER in str(one) for one in listed):
        return Finding("LiteLLM", State.FINE, "a generic_api callback is registered")
    return Finding(
        "LiteLLM",
        State.FAULT,
        "no generic_api callback is registered: nothing is billed",
        "copy litellm_settings and callback_settings from deploy/litellm/config.yaml. If they are "
        "there, endpoint or headers are empty: the proxy's log says so when it starts",
    )


def of_gateway(without_token: Answer, self_test: Answer | None) -> Iterator[Finding]:
    """Judge a gateway by its answers to a POST without a token, and to a self-test with it."""
    part = "gateway"
    if without_token.status in _NO_ROUTE or without_token.status == _OK:
        yield Finding(
            part,
            State.FAULT,
            f"/v1/callbacks/litellm answers {without_token.status}",
            "GATEWAY_URL is the address without the path; a proxy in front of it must pass /v1 on",
        )
        return
    if without_token.status == _STORED:
        yield Finding(
            part, State.FAULT, "it takes callbacks without a token", "find out whose it is"
        )
        return
    if self_test is None:
        yield Finding(
            part,
            State.WARNING,
            f"it answers ({without_token.status}); no callback was posted",
            "set BILLING_INGEST_TOKEN to try it",
        )
        return
    yield _self_test(self_test)


def _self_test(answer: Answer) -> Finding:
    if answer.status == _STORED and answer.body.get("spooled"):
        return Finding(
            "gateway",
            State.WARNING,
            "it stored a self-test callback in its spool: it does not reach Kafka",
            "look at its /readyz",
        )
    if answer.status == _STORED:
        return Finding("gateway", State.FINE, "it stored a self-test callback, which costs nothing")
    if answer.status == _UNKNOWN_TOKEN:
        return Finding(
            "gateway",
            State.FAULT,
            "it refuses the token: LiteLLM never repeats what was answered 401",
            "BILLING_INGEST_TOKEN is not the gateway's; LiteLLM needs `Bearer ` and the gateway's",
        )
    if answer.status == _NOT_STORED:
        return Finding(
            "gateway",
            State.FAULT,
            "it can store nothing: neither Kafka nor a spool takes callbacks",
            "look at its /readyz, then at Kafka",
        )
    return Finding(
        "gateway",
        State.FAULT,
        f"it answers a self-test callback with {answer.status}",
        "look at its log, and at what stands between",
    )


def of_trial(name: str, status: int, written: bool | None, seconds: float) -> Finding:  # noqa: FBT001
    """Judge a call that costs nothing: the gateway's answer, and whether its receipt came.

    Args:
        name: its id.
        status: what the gateway answered.
        written: whether its receipt is there; None where it was not looked for.
        seconds: how long that took.
    """
    if status != _STORED:
        return Finding(
            "receipt",
            State.FAULT,
            f"the gateway answers a call that costs nothing with {status}",
            "see what is said of the gateway",
        )
    if not written:
        return Finding(
            "receipt",
            State.FAULT,
            f"the call {name} has no receipt after {seconds:.0f} s",
            f"look at the consumer's /readyz, then: billing explain {name}",
        )
    return Finding(
        "receipt", State.FINE, f"a call that costs nothing has one, after {seconds:.1f} s"
    )


def of_broken_trial(said: str) -> Finding:
    """Judge a trial that could not be made or looked at."""
    step = "see what is said of the gateway and of PostgreSQL"
    return Finding("receipt", State.FAULT, f"not tried: {said}", step)


def of_clock(part: str, theirs: datetime | None, ours: datetime) -> Iterator[Finding]:
    """Compare a server's clock with this machine's; says nothing where it tells no time."""
    if theirs is None:
        return
    apart = abs(theirs - ours)
    if apart > _CLOCKS:
        seconds = round(apart.total_seconds())
        ahead = "ahead of" if theirs > ours else "behind"
        yield Finding(
            part,
            State.WARNING,
            f"its clock is {seconds} s {ahead} this machine's",
            "set the clocks right; docs/operations.md says what a wrong one does",
        )


def of_topics(missing: Sequence[str], different: Sequence[str]) -> Iterator[Finding]:
    """Judge the topics: those that are missing, and those that are not as declared."""
    if missing:
        yield Finding(
            "Kafka",
            State.FAULT,
            f"missing topics: {', '.join(missing)}",
            "billing topics --apply",
        )
    if different:
        yield Finding(
            "Kafka",
            State.WARNING,
            f"topics that are not as declared: {', '.join(different)}",
            "billing topics shows how, billing topics --apply changes it",
        )
    if not missing and not different:
        yield Finding("Kafka", State.FINE, "all topics are there, as declared")


def of_group(group: str, members: int, waiting: int) -> Iterator[Finding]:
    """Judge the consumer group: how many members it has, how many records wait for it."""
    if members == 0:
        yield Finding(
            "consumer",
            State.FAULT,
            f"the group {group} has no member, and {waiting:,} records wait",
            "start a consumer; CONSUMER_GROUP must be that of your consumers",
        )
    else:
        yield Finding(
            "consumer",
            State.FINE,
            f"the group {group} has {members} member(s), and {waiting:,} records wait",
        )


def of_schema(pending: Collection[str], held_back: str | None) -> Iterator[Finding]:
    """Judge the database's schema: which migrations are pending, and what one waits for."""
    if held_back is not None:
        yield Finding(
            "PostgreSQL",
            State.WARNING,
            f"the last migration waits: {held_back}",
            "replace it, then billing migrate",
        )
    elif pending:
        yield Finding(
            "PostgreSQL",
            State.FAULT,
            f"pending migrations: {', '.join(pending)}",
            "billing migrate",
        )
    else:
        yield Finding("PostgreSQL", State.FINE, "the schema is up to date")
