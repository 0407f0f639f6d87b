"""Who pays for calls that name a run and no account: whom an executor has named for it. Pure."""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from msgspec.structs import replace

from charging.account import may_be_of_run, of_run
from charging.outcomes import Charge, Usage
from schemas.text import identifier

Run: TypeAlias = tuple[str, int]
"""Its id and its attempt."""


def runs_of(charges: Iterable[Charge]) -> list[Run]:
    """Return the runs that pay for some of these charges, if an executor has named an account."""
    receipts = (charge.receipt for charge in charges)
    asked = ((one.run_id, one.attempt) for one in receipts if may_be_of_run(one))
    return list(dict.fromkeys(asked))


def accounts_of(units: Iterable[Usage], known: Mapping[Run, str]) -> dict[Run, str]:
    """Return the accounts of runs that the ledger knows, and those that units of a batch name.

    What was named first counts.
    """
    accounts = dict(known)
    for unit in (usage.unit for usage in units):
        if unit.billing_account_id is not None:
            run = (identifier(unit.run_id), unit.attempt)
            accounts.setdefault(run, identifier(unit.billing_account_id))
    return accounts


def paid(charge: Charge, accounts: Mapping[Run, str]) -> Charge:
    """Return a charge as its run pays for it, or as it is.

    What a repeat of it is compared with stays as its callback says.
    """
    receipt = charge.receipt
    account = accounts.get((receipt.run_id, receipt.attempt))
    if account is None or not may_be_of_run(receipt):
        return charge
    return replace(charge, receipt=of_run(receipt, account))
