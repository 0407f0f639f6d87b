"""Background responses, one charge each: which of them a callback tells of, and how. Pure.

A response that is made in the background is told of by its create, which costs nothing yet, and by
every read of it, with its whole cost each time. Its link is what all these share; its result key is
what its reads share, and what tells it from another response with the same link as far as anything
does. See docs/decisions/0016.
"""

import hashlib
from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec.structs import replace

from charging.account import RUN_AS_END_USER, UNATTRIBUTED
from charging.call_shape import priced_later, reads
from charging.money import trimmed
from charging.outcomes import Caller, Charge, Deferred, DeferredReason, Link, Role
from charging.signature import ACCOUNT_UNSIGNED, NOT_BELIEVED, VERDICTS
from schemas.background import ResponseState, read_response
from schemas.identity import read_key
from schemas.reader import Reading, read_callback
from schemas.receipt import ChargeReason, Receipt, receipt_id

AGAIN: Final = "||again"
"""Behind a result key: a second read that may be of another response with the same usage."""

_RESULT: Final = "result||"
"""Two bars: the key of a call has one at most (`schemas.identity`)."""
_OF_THE_CREATE: Final = frozenset(
    {
        *("unattributed_run", UNATTRIBUTED, RUN_AS_END_USER, "attribution_unreadable"),
        *("tags_cut", "attribution_misspelt", "half_key"),
        *(*VERDICTS, ACCOUNT_UNSIGNED, NOT_BELIEVED),
        *(ChargeReason.HEALTH_PROBE.value, ChargeReason.SILENT_EXPERIMENT.value),
    }
)
"""Marks that speak of who made a call."""


def link_of(reading: Reading, value: bytes, source_system: str) -> Link | None:
    """Return which background response a callback is about; None where it is about none.

    None as well where the callback leaves out what would tell: LiteLLM's redaction may have cut it.
    """
    callback = reading.callback
    if not priced_later(callback.call_type):
        return None
    state = read_response(value)
    if not state.background or state.created_at in {None, "0"}:
        return None
    key_hash = callback.metadata.user_api_key_hash if callback.metadata else None
    digest = _digest(key_hash, state.created_at, state.model)
    role = _role(callback.call_type, state, costs=bool(callback.response_cost))
    if role is Role.CREATE:
        return Link(source_system, digest, role)
    tokens = (callback.prompt_tokens, callback.completion_tokens)
    return Link(source_system, digest, role, f"{_RESULT}{_digest(digest, *tokens)}")


def _role(call_type: str | None, state: ResponseState, *, costs: bool) -> Role:
    # What was given up may have cost something all the same, and is read as often as others.
    if not reads(call_type):
        return Role.CREATE if state.pending and not costs else Role.FINISHED
    return Role.ENDED if state.ended and not costs else Role.READ


def is_ordered(reading: Reading, value: bytes) -> bool:
    """Say whether a call that cost nothing has ordered what will be made, and priced, later."""
    callback = reading.callback
    if not priced_later(callback.call_type) or reads(callback.call_type):
        return False
    used = (callback.prompt_tokens, callback.completion_tokens, callback.total_tokens)
    return not any(used) and read_response(value).pending


def deferral_keys(value: bytes) -> Iterator[str]:
    """Yield the keys that a deferral of `value` may have. Raises `ContractError`."""
    reading = read_callback(value)
    callback = reading.callback
    yield reading.identity.call_key
    if reads(callback.call_type):
        yield read_key(callback.litellm_call_id, callback.id)
    if (link := link_of(reading, value, "")) and link.result_key:
        yield link.result_key
        yield link.result_key + AGAIN


def _digest(*parts: str | int | None) -> str:
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def result_hash(receipt: Receipt) -> str:
    """Hash what two reads of one result agree on: cost and tokens, whoever reads.

    Equal amounts hash equally. Account and model of a read are those of who reads.
    """
    tokens = (receipt.tokens_in, receipt.tokens_out)
    details = (receipt.tokens_cached_in, receipt.tokens_reasoning)
    return _digest(trimmed(receipt.response_cost_usd), *tokens, *details)


def linked(charge: Charge, link: Link) -> Charge:
    """Return a charge as one of a background response.

    A read is charged under its result key. How long it took says nothing of the response.
    """
    found = replace(charge, content_hash=result_hash(charge.receipt), link=link)
    if link.role is not Role.READ:
        return found
    receipt = replace(charge.receipt, latency_ms=None, ttft_ms=None)
    return under(replace(found, receipt=receipt), link.result_key)


def settled(charge: Charge, call_key: str) -> Charge:
    """Return what a person set the cost of as the charge of the deferral that it settles."""
    if not call_key:
        return charge
    if call_key.startswith(_RESULT):
        charge = replace(charge, content_hash=result_hash(charge.receipt))
    return under(charge, call_key)


def under(charge: Charge, call_key: str) -> Charge:
    """Return `charge` as that of the call that `call_key` names."""
    receipt = charge.receipt
    named = replace(
        receipt,
        id=receipt_id(receipt.source_system, call_key),
        call_key=call_key,
        source_reference=f"{receipt.run_id}/{receipt.attempt}/{call_key}",
    )
    return replace(charge, receipt=named)


def inherit(charge: Charge, create: Receipt) -> Charge:
    """Return the charge of a result as one of who ordered it.

    `create` is what the receipt of the create would be: its ids, run, attempt, account, agents,
    tags, model and reason are taken over, and the marks that speak of them.
    """
    receipt = charge.receipt
    marks = {mark for mark in receipt.marks if mark not in _OF_THE_CREATE} | set(create.marks)
    inherited = replace(
        receipt,
        litellm_call_id=create.litellm_call_id,
        response_id=create.response_id,
        run_id=create.run_id,
        attempt=create.attempt,
        billing_account_id=create.billing_account_id,
        charge_reason=create.charge_reason,
        model=create.model or receipt.model,
        graph_id=create.graph_id,
        sub_agent_id=create.sub_agent_id,
        parent_sub_agent_id=create.parent_sub_agent_id,
        tool_call_id=create.tool_call_id,
        tags=create.tags,
        team_id=create.team_id,
        team_alias=create.team_alias,
        key_alias=create.key_alias,
        organization_id=create.organization_id,
        marks=sorted(marks),
    )
    return under(replace(charge, receipt=inherited), receipt.call_key)


def attribution(create: Receipt) -> tuple[object, ...]:
    """Return whose a create is, to be compared with another's; a run that it names, or none."""
    run = None if "unattributed_run" in create.marks else (create.run_id, create.attempt)
    agents = (create.graph_id, create.sub_agent_id, create.parent_sub_agent_id)
    return (run, create.billing_account_id, *agents, create.tool_call_id, tuple(create.tags))


def deferred_of(charge: Charge, reason: DeferredReason, call_key: str) -> Deferred:
    """Return the deferral of a charge that has to wait, its cost as the suggestion."""
    r = charge.receipt
    return Deferred(
        reason=reason,
        source_system=r.source_system,
        call_key=call_key,
        litellm_call_id=r.litellm_call_id,
        response_id=r.response_id,
        run_id=r.run_id,
        model=r.model,
        provider=r.provider,
        tokens_in=r.tokens_in,
        tokens_out=r.tokens_out,
        suggested_cost_usd=r.response_cost_usd or None,
        occurred_at=r.occurred_at,
        link=charge.link,
        held=replace(charge, link=None),
        billing_account_id=r.billing_account_id,
        caller=Caller(
            r.team_id, r.team_alias, r.key_alias, charge.key_hash, charge.user_id, r.organization_id
        ),
        started_at=charge.started_at,
        sub_agent_id=r.sub_agent_id,
        parent_sub_agent_id=r.parent_sub_agent_id,
        tags=r.tags,
    )
