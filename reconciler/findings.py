"""Findings: rows that the books have no answer to, as they are written down. Pure."""

from decimal import Decimal
from typing import Final

from ledger.reconciliation import Finding
from reconciler.comparison import Compared, Verdict
from reconciler.reposting import Unidentified, key_of
from reconciler.row import OddRow
from schemas.receipt import plain
from schemas.text import identifier

OPEN: Final = frozenset(
    {Verdict.MISSING, Verdict.PRICED, Verdict.DIFFERS, Verdict.UNIDENTIFIED, Verdict.ELSEWHERE}
)
"""Verdicts that are written down."""
ANSWERED: Final = frozenset(
    {Verdict.MATCHED, Verdict.DEFERRED, Verdict.DEAD_LETTER, Verdict.COSTS_NOTHING}
)
"""Verdicts that close what was written down before."""
UNREADABLE: Final = "unreadable"
_MOST_USD: Final = Decimal(10) ** 15
"""A figure beyond it is no money; the row is deferred as unusable if it comes."""


def finding_of(one: Compared) -> Finding:
    """Return what is written down of a row whose verdict is one of `OPEN`."""
    row, key = one.row, key_of(one.row)
    known = one.known
    return Finding(
        request_id=identifier(row.request_id),
        litellm_call_id=_text(row.litellm_call_id),
        call_key=None if isinstance(key, Unidentified) else key,
        verdict=one.verdict,
        reason=one.reason,
        spend_usd=_amount(row.spend),
        receipt_cost_usd=_amount(known.billed if known else None),
        started_at=row.start,
        end_user=_text(row.end_user),
    )


def unreadable(odd: OddRow) -> Finding | None:
    """Return what is written down of a row that cannot be read; None where it has no id."""
    if odd.request_id is None:
        return None
    request, fault = identifier(odd.request_id), identifier(odd.fault)
    return Finding(request, None, None, UNREADABLE, fault, None, None, None, None)


def _text(text: str | None) -> str | None:
    return None if text is None else identifier(text)


def _amount(amount: Decimal | None) -> str | None:
    return plain(amount) if amount is not None and abs(amount) < _MOST_USD else None
