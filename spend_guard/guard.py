"""What is answered: holds for the plugin, accounts and entries for people's tools."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Header, Path, Query
from fastapi.responses import JSONResponse, Response

from charging.money import CREDITS_PER_USD
from ledger.accounts import (
    AmountError,
    CreditError,
    Entry,
    Movement,
    ReferenceTakenError,
    UnknownAccountError,
)
from ledger.admission import Answer, Ask, HoldRow
from schemas.text import identifier
from spend_guard import metrics
from spend_guard.amounts import Amounts
from spend_guard.books import Books, CreditBooks, HoldBooks, LockedError
from spend_guard.door import account_of
from spend_guard.messages import (
    AccountAnswer,
    EntriesAnswer,
    EntryAnswer,
    EntryAsk,
    HoldAnswer,
    HoldAsk,
    Release,
    refused,
)
from spend_guard.placing import Placing

_NO_SUCH_HOLD: Final = "nobody has placed such a hold, or it ended long ago"
_PAGE: Final = 100
_RELEASE_SECONDS: Final = 2.0
_AGAIN_SECONDS: Final = 0.1
AccountPath = Annotated[
    str,
    Path(
        alias="account",
        min_length=1,
        description="The account's name, percent-encoded as one segment: a slash is %2F.",
    ),
]


@dataclass(frozen=True, slots=True)
class Terms:
    """How long holds live, in seconds, and how many credits are plenty."""

    usual_seconds: int
    longest_seconds: int
    plenty: int


class Guard:
    """Answers the requests of one process."""

    def __init__(
        self,
        placing: Placing,
        holds: Books[HoldBooks],
        credit: Books[CreditBooks],
        amounts: Amounts,
        terms: Terms,
    ) -> None:
        self._placing = placing
        self._holds = holds
        self._credit = credit
        self._amounts = amounts
        self._terms = terms

    async def place(self, asked: HoldAsk) -> Response | HoldAnswer:
        """Hold what a call may cost; 402 where the account cannot afford it."""
        terms = self._terms
        seconds = min(asked.expires_in_seconds or terms.usual_seconds, terms.longest_seconds)
        ask = Ask(
            account=identifier(asked.account),
            litellm_call_id=identifier(asked.litellm_call_id),
            nonce=asked.nonce,
            amount=self._amounts.of(asked),
            seconds=seconds,
            run_id=None if asked.run_id is None else identifier(asked.run_id),
            attempt=asked.attempt,
            model=None if asked.model is None else identifier(asked.model),
            of_run=asked.account_of_run,
        )
        within = asked.answer_within_ms
        answer = await self._placing.place(ask, None if within is None else within / 1_000)
        account = answer.account or ask.account
        if answer.kind is None or answer.answer == "refused":
            return JSONResponse(_unaffordable(account, answer), 402)
        hold, left = answer.hold, answer.available
        return HoldAnswer(
            hold=hold and hold.id,
            account=account,
            amount=answer.required,
            expires_at=hold and hold.expires_at,
            available=left,
            kind=answer.kind,
            # What passes without a hold may overspend, which no prepaid account may.
            plenty=left is None or (answer.kind == "postpaid" and left >= terms.plenty),
            state=hold and hold.state,
        )

    async def release(self, hold: UUID) -> Response | Release:
        """Free what a call did not need; a hold that has ended stays as it ended."""
        found = await self._released(hold)
        if found is None:
            return JSONResponse(refused(_NO_SUCH_HOLD, "unknown_hold"), 404)
        metrics.RELEASED.labels(found.state).inc()
        return Release.model_validate(
            {
                "hold": found.id,
                "account": found.account,
                "amount": found.amount,
                "state": found.state,
            }
        )

    async def _released(self, hold: UUID) -> HoldRow | None:
        """Release a hold; while another transaction has it or its account, others come first."""
        until = monotonic() + _RELEASE_SECONDS
        while True:
            try:
                return await self._holds.ask(lambda books: books.release(hold))
            except LockedError:
                if monotonic() >= until:
                    raise
            await asyncio.sleep(_AGAIN_SECONDS)

    async def account(self, account: AccountPath) -> Response | AccountAnswer:
        """Show what an account has, what of it is held, and what is available."""
        name = account_of(account)
        found = await self._credit.ask(lambda books: books.account(name))
        if found is None:
            return _nobody(name)
        return AccountAnswer(
            account=found.billing_account_id,
            kind=found.kind,
            balance=found.balance,
            held=found.held,
            limit=found.limit,
            available=found.available,
            opened_at=found.opened_at,
        )

    async def entries(
        self,
        account: AccountPath,
        before: Annotated[
            int | None, Query(ge=1, le=2**63 - 1, description="`next` of the page before.")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=1_000, description="Most entries of a page.")] = _PAGE,
    ) -> Response | EntriesAnswer:
        """Show the movements of an account, the newest first."""
        name = account_of(account)
        if await self._credit.ask(lambda books: books.account(name)) is None:
            return _nobody(name)
        # One more than asked for tells whether there is another page.
        found = await self._credit.ask(lambda books: books.entries(name, before, limit + 1))
        page = found[:limit]
        return EntriesAnswer(
            entries=[_entry(one) for one in page],
            next=page[-1].id if len(found) > limit else None,
        )

    async def post(
        self,
        account: AccountPath,
        asked: EntryAsk,
        response: Response,
        idempotency_key: Annotated[
            str,
            Header(
                min_length=1,
                max_length=256,
                description="Names the movement: sent again, nothing is moved again.",
            ),
        ],
    ) -> Response | EntryAnswer:
        """Grant, refund, write off or correct; 201 when it is done now, 200 when it was before."""
        name = account_of(account)
        movement = Movement(
            billing_account_id=name,
            reason=asked.reason,
            reference=idempotency_key,
            amount=asked.amount,
            person=asked.person,
            note=asked.note,
        )
        try:
            posted = await self._credit.ask(lambda books: books.post(movement, "open"))
        except CreditError as error:
            return _not_posted(error)
        response.status_code = 201 if posted.created else 200
        return _entry(posted.entry)


def _unaffordable(account: str, answer: Answer) -> Mapping[str, Any]:
    if answer.kind is None:
        message = f"nobody has opened the account {account}, so its calls are refused"
        kind = "unknown_account"
    else:
        left = max(answer.available or 0, 0)
        message = (
            f"insufficient credits: this call may cost {_usd(answer.required)} USD, and the "
            f"account {account} has {_usd(left)} USD available"
        )
        kind = "insufficient_credits"
    told = {"account": account, "required": answer.required, "available": answer.available}
    return refused(message, kind, **told)


def _usd(credit: int) -> str:
    whole, rest = divmod(credit, CREDITS_PER_USD)
    return f"{whole}.{rest:07}".rstrip("0").rstrip(".")


def _nobody(account: str) -> Response:
    message = f"nobody has opened the account {account}"
    return JSONResponse(refused(message, "unknown_account", account=identifier(account)), 404)


def _not_posted(error: CreditError) -> Response:
    match error:
        case ReferenceTakenError():
            return JSONResponse(refused(str(error), "reference_taken"), 409)
        case UnknownAccountError():
            return JSONResponse(refused(str(error), "unknown_account"), 404)
        case AmountError():
            return JSONResponse(refused(str(error), "invalid_amount"), 422)
    raise error


def _entry(one: Entry) -> EntryAnswer:
    return EntryAnswer(
        id=one.id,
        account=one.billing_account_id,
        reason=one.reason,
        reference=one.reference,
        amount=one.amount,
        balance=one.balance,
        batch=one.batch,
        receipts=one.receipts,
        person=one.person,
        note=one.note,
        created_at=one.created_at,
    )
