"""Cutting fields out of an element's bytes; all other bytes stay as they are.

Two uses: an operator who wants no prompts on the topic (`GATEWAY_CONTENT=drop`), and an element
over the topic's limit, whose bulk is the prompt and the answer. Works on whatever the splitter cut,
so also on elements that strict JSON refuses.
"""

import json
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

from producer_gateway.scanner import STRING, Scanner
from schemas.element import BILLING_FIELDS, Fields


class Keep(NamedTuple):
    """Keep only these members of an object; a nested mapping says which of the member's own."""

    fields: Fields


class Cut(NamedTuple):
    """Cut these members out of an object: None the whole member, else what the rule says."""

    fields: Mapping[str, "Rule | None"]


Rule: TypeAlias = Keep | Cut
_Range: TypeAlias = tuple[int, int]


class _Member(NamedTuple):
    name: str
    start: int
    value: int
    end: int


def _billing(*path: str) -> Keep:
    fields: Fields = BILLING_FIELDS
    for name in path:
        fields = fields[name] or {}
    return Keep(fields)


CONTENT: Final = Cut(
    {
        # Prompts and answers.
        "messages": None,
        "response": None,
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


def cut_content(element: bytes) -> bytes:
    """Return `element` without its content fields; as it is where it has none or is no object."""
    return _apply(element, CONTENT)


def keep_billing_fields(element: bytes) -> bytes:
    """Return `element` with only the fields that billing reads; as it is where it is no object."""
    return _apply(element, Keep(BILLING_FIELDS))


def _apply(element: bytes, rule: Rule) -> bytes:
    scanner = Scanner(element)
    ranges = _cuts(scanner, scanner.space(0), rule)
    if not ranges:
        return element
    kept, position = list[bytes](), 0
    for start, end in ranges:
        kept.append(element[position:start])
        position = end
    kept.append(element[position:])
    return b"".join(kept)


def _cuts(scanner: Scanner, position: int, rule: Rule) -> list[_Range]:
    """Return the ranges to cut out of the object at `position`, ascending."""
    members = _members(scanner, position)
    cut = [_is_cut(scanner.body, member, rule) for member in members]
    last = max((index for index, gone in enumerate(cut) if not gone), default=-1)
    ranges = list[_Range]()
    for index, (member, gone) in enumerate(zip(members[: last + 1], cut, strict=False)):
        if gone:
            ranges.append((member.start, members[index + 1].start))
        elif nested := _nested(rule, member.name):
            ranges.extend(_cuts(scanner, member.value, nested))
    if last + 1 < len(members):
        start = members[last].end if last >= 0 else members[0].start
        ranges.append((start, members[-1].end))
    return ranges


def _is_cut(body: bytes, member: _Member, rule: Rule) -> bool:
    is_object = body[member.value] == ord("{")
    if isinstance(rule, Keep):
        if member.name not in rule.fields:
            return True
        return rule.fields[member.name] is not None and not is_object
    if member.name not in rule.fields:
        return False
    nested = rule.fields[member.name]
    return nested is None or (isinstance(nested, Keep) and not is_object)


def _nested(rule: Rule, name: str) -> Rule | None:
    found = rule.fields.get(name)
    return Keep(found) if isinstance(found, Mapping) else found


def _members(scanner: Scanner, position: int) -> list[_Member]:
    """Return the members of the object at `position`; none where it is not one, or broken."""
    body, members = scanner.body, list[_Member]()
    if body[position : position + 1] != b"{":
        return []
    while body[position : position + 1] in (b"{", b","):
        start = scanner.space(position + 1)
        key = STRING.match(body, start)
        colon = scanner.space(key.end()) if key else len(body)
        if key is None or body[colon : colon + 1] != b":":
            return []
        value = scanner.space(colon + 1)
        end = scanner.value_end(value)
        if end is None:
            return []
        members.append(_Member(_name(key[0]), start, value, end))
        position = scanner.space(end)
    return members if body[position : position + 1] == b"}" else []


def _name(key: bytes) -> str:
    if b"\\" not in key:
        return key[1:-1].decode("utf-8", "replace")
    try:
        return str(json.loads(key, strict=False))
    except ValueError:
        return ""
