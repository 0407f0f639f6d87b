"""Receipts that take credits: against receipts alone, and on one hot account against many.

First through the consumer. Then what three members of a group do to the same rows at once, without
Kafka: each writes finished decisions.
"""

import multiprocessing
import time
from contextlib import closing
from functools import partial
from multiprocessing.synchronize import Barrier
from typing import Final, TypeAlias

import psycopg
from msgspec.structs import replace

from charging.outcomes import Charge, Decided
from ledger.debits import CreditTerms
from ledger.receipts import ReceiptWriter
from schemas.receipt import receipt_id
from tests.bench.figures import Comparison, Figures, Target
from tests.bench.paired_drains import compared, paired
from tests.bench.payloads import REDACTED, Payloads
from tests.bench.services import Services
from tests.bench.sizes import Size
from tests.databases.writing import ROLE
from tests.inputs.callbacks import decided, element
from tests.observers.credits import unbalanced

_BATCH: Final = 3_000
_MEMBERS: Final = 3
_MANY: Final = 1_000
_DEADLINE_SECONDS: Final = 600.0

_Times: TypeAlias = tuple[float, float]
"""When the first batch began and the last one ended, by the clock that all processes share."""


def measure(services: Services, size: Size) -> list[Comparison]:
    """Receipts a second that are written and debited."""
    return [*_through_the_consumer(services, size), _hot_account(services, size)]


def _through_the_consumer(services: Services, size: Size) -> list[Comparison]:
    payloads = Payloads("credits", REDACTED, accounts=_MANY)
    drains = paired(services, size, payloads, "BILLING_CREDITS=false", _check_credits)
    what = f"consumer, credits of {_MANY:,} accounts, 4 kB"
    return compared(what, ("with credits", "receipts alone"), drains, Target(0.9))


def _hot_account(services: Services, size: Size) -> Comparison:
    accounts = {1: list[float](), _MANY: list[float]()}
    batches = max(size.callbacks // _BATCH, _MEMBERS)
    for _ in range(size.rounds):
        for count, rates in accounts.items():
            with services.database() as url:
                rates.append(_rate(url, batches, count))
    return Comparison(
        "ledger, three members",
        "receipts/s",
        Figures("one hot account", tuple(accounts[1])),
        Figures(f"{_MANY:,} accounts", tuple(accounts[_MANY])),
        Target(0.8),
    )


def _rate(url: str, batches: int, accounts: int) -> float:
    """Receipts a second of all members together, from the first batch to the last."""
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(_MEMBERS)
    each = max(batches // _MEMBERS, 1)
    with context.Pool(_MEMBERS, _wait_for, (start,)) as pool:
        work = partial(_member, url, each, accounts)
        times = pool.map_async(work, range(_MEMBERS), chunksize=1).get(_DEADLINE_SECONDS)
    took = max(ended for _, ended in times) - min(began for began, _ in times)
    _check_credits(url)
    return _MEMBERS * each * _BATCH / took


def _check_credits(url: str) -> None:
    with psycopg.connect(url) as connection:
        if wrong := unbalanced(connection):
            raise AssertionError(f"the credits do not add up: {wrong[:3]}")


_START: list[Barrier] = []


def _wait_for(start: Barrier) -> None:
    _START.append(start)


def _member(url: str, batches: int, accounts: int, number: int) -> _Times:
    """Write batches of calls of its own."""
    first = decided(element())
    made = [
        [_call(first, f"{number}-{batch}-{at}", at % accounts) for at in range(_BATCH)]
        for batch in range(batches)
    ]
    with closing(ReceiptWriter(url, ROLE, CreditTerms())) as ledger:
        ledger.ping()
        _START[0].wait(_DEADLINE_SECONDS)
        began = time.monotonic()
        for batch in made:
            ledger.write(batch)
        return began, time.monotonic()


def _call(first: Decided, name: str, account: int) -> Decided:
    charge = first.decision
    assert isinstance(charge, Charge)
    receipt = charge.receipt
    changed = replace(
        receipt,
        id=receipt_id(receipt.source_system, name),
        call_key=name,
        litellm_call_id=name,
        response_id=name,
        billing_account_id=f"acct-{account}",
    )
    return Decided(first.record, replace(charge, receipt=changed))
