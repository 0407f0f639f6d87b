"""The payer: whose account a call is charged to. Pure."""

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from msgspec.structs import replace

from charging.signature import NO_SIGNATURES, NOT_BELIEVED, SIGNED, SignatureRules, Verdict
from schemas.attribution import text_of
from schemas.callback import Callback, Metadata
from schemas.identity import run_attempt
from schemas.receipt import ChargeReason, Receipt

HEALTH_CHECK: Final = "litellm-internal-health-check"
PLACEHOLDER: Final = "default_user_id"
"""What LiteLLM writes where a key has no user."""

_JSON: Final = re.compile(r"""\s*(?:\{\s*["'}]|\[\s*[\["'{\]]|"\s*\{)""")
"""How a text begins that holds an object or a list, cut off or not, JSON or Python's form of it."""
_SUSPECT: Final = frozenset('{["ud')
"""How texts begin that take a closer look."""
_SESSION: Final = re.compile(r"user_[0-9a-f]{64}_account_[0-9a-f-]*_session_[0-9a-f-]{36}")
"""What Claude Code sent as its user before it sent JSON: a session, new with each start."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """Where accounts come from: fields in order, and the accounts for calls without a customer.

    `signatures` say what is believed of the fields that a client sets.
    """

    fields: tuple[str, ...]
    internal: str
    unattributed: str
    signatures: SignatureRules = NO_SIGNATURES


def internal_reason(metadata: Metadata) -> ChargeReason | None:
    """Recognise calls that no customer asked for, by fields that no client can set.

    The request tag of a health probe is left out: a client could send it to escape its bill.
    """
    if HEALTH_CHECK in {metadata.user_api_key_alias, metadata.user_api_key_team_id}:
        return ChargeReason.HEALTH_PROBE
    return ChargeReason.SILENT_EXPERIMENT if metadata.is_silent_experiment else None


UNATTRIBUTED: Final = "unattributed_account"
"""Mark: nothing names an account."""
RUN_AS_END_USER: Final = "run_as_end_user"
"""Mark: what would name the account first names the run, as servers of agents write it."""
ACCOUNT_OF_RUN: Final = "account_of_run"
"""Mark: the account is the one that an executor has named for the run."""


class Payer(NamedTuple):
    """The account that a call names, None where it names none.

    `run_first`: a field before it names a run instead, which may have an account. `passed_over`: a
    field before it names an account that is not believed. `unsigned`: the client names it, and has
    signed its names without it.
    """

    account: str | None
    run_first: bool = False
    passed_over: bool = False
    unsigned: bool = False


def accounts_by_client(callback: Callback, metadata: Metadata) -> dict[str, str | None]:
    """Return the fields by which a client names an account, as they were sent."""
    headers = metadata.requester_custom_headers
    return {
        "end_user": callback.end_user,
        "x-litellm-end-user-id": headers.end_user_id if headers else None,
    }


_UNSIGNED: Final = Verdict()


def payer(
    callback: Callback, metadata: Metadata, accounts: Accounts, verdict: Verdict = _UNSIGNED
) -> Payer:
    """Return the first account there is; what a client says of itself may be its run instead.

    Where signatures are required, an account of a client's is believed if `verdict` covers it.
    """
    by_client = accounts_by_client(callback, metadata)
    run_first = passed_over = False
    for field in accounts.fields:
        said = field in by_client
        value = text_of(by_client[field] if said else getattr(metadata, field))
        if not value or not _is_account(value):
            continue
        covered = not said or value == verdict.account
        if said and run_attempt(value):
            run_first = True
        elif accounts.signatures.required and not covered:
            passed_over = True
        else:
            return Payer(value, run_first, passed_over, verdict.mark == SIGNED and not covered)
    return Payer(None, run_first, passed_over)


def may_be_of_run(receipt: Receipt) -> bool:
    """Whether the call is charged to the account of its run, if an executor has named one."""
    marks = receipt.marks
    if "unattributed_run" in marks or (NOT_BELIEVED in marks and SIGNED not in marks):
        return False
    return UNATTRIBUTED in marks or RUN_AS_END_USER in marks


def of_run(receipt: Receipt, account: str) -> Receipt:
    """Return the receipt of a call that is charged to the account of its run."""
    marks = sorted({*receipt.marks, ACCOUNT_OF_RUN} - {UNATTRIBUTED})
    return replace(receipt, billing_account_id=account, marks=marks)


def _is_account(text: str) -> bool:
    """Whether a text can be a customer: a client's session is none, nor is a placeholder."""
    if text[0] not in _SUSPECT and not text[0].isspace():
        return True
    return not (text == PLACEHOLDER or _JSON.match(text) or _SESSION.fullmatch(text))
