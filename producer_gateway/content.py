"""Cutting fields out of a callback's bytes; all other bytes stay as they are.

Two uses: an operator who wants no prompts on the topic (`GATEWAY_CONTENT=drop`), and a callback
over the topic's limit, whose bulk is the prompt and the answer. Works on whatever the splitter cut,
so also on callbacks that strict JSON refuses.
"""

import json
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

from producer_gateway.scanner import Member, Scanner
from schemas.background import RESPONSE_FIELDS
from schemas.reader import BILLING_FIELDS, Fields


class Keep(NamedTuple):
    """Keep only these members of an object; a nested mapping says which of the member's own."""

    fields: Fields


class Cut(NamedTuple):
    """Cut these members out of an object: None the whole member, else what the rule says."""

    fields: Mapping[str, "Rule | None"]


Rule: TypeAlias = Keep | Cut
_Range: TypeAlias = tuple[int, int]


def _billing(*path: str) -> Keep:
    fields: Fields = BILLING_FIELDS
    for name in path:
        fields = fields[name] or {}
    return Keep(fields)


CONTENT: Final = Cut(
    {
        # Prompts and answers.
        "messages": None,
        "response": Keep(RESPONSE_FIELDS),
        "model_parameters": None,
        "standard_built_in_tools_params": None,
        "guardrail_information": None,
        "classifier_input": None,
        "originating_request_masked": None,
        # Addresses.
        "requester_ip_address": None,
        "user_agent": None,
        "api_base": None,
        "hidden_params": Cut({"api_base": None}),
        # Tracebacks.
        "response_cost_failure_debug_info": None,
        "error_information": Cut({"traceback": None, "error_message": None}),
        "metadata": Cut(
            {
                "requester_ip_address": None,
                "user_agent": None,
                "requester_metadata": None,
                "requester_custom_headers": _billing("metadata", "requester_custom_headers"),
                "mcp_tool_call_metadata": None,
                "prompt_management_metadata": None,
                "vector_store_request_metadata": None,
            }
        ),
    }
)
"""What is cut as content (field list of LiteLLM 1.109.1). Nothing that billing reads is in it."""


KEPT: Final = Keep({**BILLING_FIELDS, "response": RESPONSE_FIELDS})
"""What billing reads, and nothing else."""


def cut_content(callback: bytes) -> bytes:
    """Return `callback` without its content fields; as it is where it has none or is no object."""
    return _apply(callback, CONTENT)


def keep_billing_fields(callback: bytes) -> bytes:
    """Return `callback` with only the fields that billing reads; as it is where it is no object."""
    return _apply(callback, KEPT)


def _apply(callback: bytes, rule: Rule) -> bytes:
    scanner = Scanner(callback)
    ranges = _cuts(scanner, scanner.space(0), rule)
    if not ranges:
        return callback
    kept, position = list[bytes](), 0
    for start, end in ranges:
        kept.append(callback[position:start])
        position = end
    kept.append(callback[position:])
    return b"".join(kept)


def _cuts(scanner: Scanner, position: int, rule: Rule) -> list[_Range]:
    """Return the ranges to cut out of the object at `position`, ascending.

    The comma behind a cut member goes with it; behind the last kept member, the one before.
    """
    members, ranges = scanner.members(position), list[_Range]()
    kept_end = position + 1
    for index, member in enumerate(members):
        cut, nested = _decide(scanner.body, member, rule)
        if cut:
            following = members[index + 1].start if index + 1 < len(members) else None
            ranges.append((member.start, following) if following else (kept_end, member.end))
            continue
        kept_end = member.end
        if nested:
            ranges.extend(_cuts(scanner, member.value, nested))
    return _joined(ranges)


def _decide(body: bytes, member: Member, rule: Rule) -> tuple[bool, Rule | None]:
    """Return whether `member` is cut whole, and else what is cut inside of it."""
    name = _name(member.key)
    if name not in rule.fields:
        return isinstance(rule, Keep), None
    inside = rule.fields[name]
    if inside is None:
        return isinstance(rule, Cut), None
    nested = inside if isinstance(inside, Keep | Cut) else Keep(inside)
    if body[member.value] == ord("{"):
        return False, nested
    return isinstance(nested, Keep), None


def _joined(ranges: list[_Range]) -> list[_Range]:
    """Join ranges that touch or overlap: the last member's may reach back over those before it."""
    joined = list[_Range]()
    for start, end in ranges:
        first = start
        while joined and joined[-1][1] >= first:
            first = min(first, joined.pop()[0])
        joined.append((first, end))
    return joined


def _name(key: bytes) -> str:
    if b"\\" not in key:
        return key[1:-1].decode("utf-8", "replace")
    try:
        return str(json.loads(key, strict=False))
    except ValueError:
        return ""
