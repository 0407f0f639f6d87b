"""An account of the demo that pays in advance: what it is granted, and what its calls leave of it.

One USD at LiteLLM's prices is enough for three calls and not for four, whether the receipts of
earlier ones are there or only their holds: three holds are no more than 1 USD, and what three
charges leave is less than a hold. A test holds it.
"""

import json
import secrets
import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal
from typing import Any, Final

import httpx

from demo import commands

GRANT_USD: Final = Decimal(1)
LEAST_MARKUP: Final = Decimal("0.0001")
"""With less, a call costs so few credits that rounding decides how many calls are afforded."""
_CREDIT_USD: Final = Decimal("0.0000001")
_MODULE: Final = "operator_cli"


@dataclass(frozen=True, kw_only=True)
class Movement:
    """An entry of the account: a grant, or the debit of so many receipts; money in USD."""

    reason: str
    amount_usd: Decimal
    balance_usd: Decimal
    receipts: int | None


@dataclass(frozen=True, kw_only=True)
class Hold:
    """What a call has held, and what of it was captured by its receipt; money in USD."""

    litellm_call_id: str
    state: str
    amount_usd: Decimal
    captured_usd: Decimal | None


@dataclass(frozen=True, kw_only=True)
class Credit:
    """The account after its calls; movements and holds with the newest first; money in USD."""

    account: str
    kind: str
    balance_usd: Decimal
    held_usd: Decimal
    available_usd: Decimal
    movements: tuple[Movement, ...]
    holds: tuple[Hold, ...]


class Prepaid:
    """A new account, and the commands that move its credits and tell of them.

    Args:
        database_url: libpq URL of the ledger.
        markup: what costs are multiplied by before they are charged.
    """

    def __init__(self, database_url: str, markup: Decimal) -> None:
        self._environment = {"DATABASE_URL": database_url}
        self.account = f"zoe-{secrets.token_hex(3)}"
        self.granted_usd = (GRANT_USD * markup).quantize(_CREDIT_USD, ROUND_UP).normalize()
        amount = f"{self.granted_usd:f}"
        note = ("--note", "for the demo", "--by", "demo", "--reference", self.account)
        self._grant = ("credit", "grant", self.account, amount, *note)

    @property
    def command(self) -> str:
        """The command that grants the account its credits, as a person types it."""
        return shlex.join(("./billing", *self._grant))

    def grant(self) -> str:
        """Grant the credits; what the command says. Raises `StackError` where it fails."""
        return commands.run(_MODULE, *self._grant, environment=self._environment).strip()

    def credit(self) -> Credit:
        """Return what the account has. Raises `StackError` where a command fails."""
        questions = (
            ("accounts", "--account", self.account),
            ("credit", "entries", self.account),
            ("holds", "--account", self.account),
        )
        with ThreadPoolExecutor(len(questions)) as at_once:  # each is a process that starts slowly
            (found,), entries, holds = at_once.map(self._rows, questions)
        return Credit(
            account=found["account"],
            kind=found["kind"],
            balance_usd=Decimal(found["balance USD"]),
            held_usd=found["held"] * _CREDIT_USD,
            available_usd=Decimal(found["available USD"]),
            movements=tuple(
                Movement(
                    reason=row["reason"],
                    amount_usd=Decimal(row["amount USD"]),
                    balance_usd=Decimal(row["balance USD"]),
                    receipts=row["receipts"],
                )
                for row in entries
            ),
            holds=tuple(
                Hold(
                    litellm_call_id=row["call"],
                    state=row["state"],
                    amount_usd=Decimal(row["amount USD"]),
                    captured_usd=row["captured USD"] and Decimal(row["captured USD"]),
                )
                for row in holds
            ),
        )

    def _rows(self, command: tuple[str, ...]) -> Any:  # noqa: ANN401 - JSON
        told = commands.run(_MODULE, *command, "--json", environment=self._environment)
        return json.loads(told)


def why_not(markup: Decimal) -> str:
    """Return why a grant cannot end with these calls, a sentence; nothing where it can."""
    with_it = f"with BILLING_MARKUP={markup:f}"
    if not markup:
        return f"{with_it} calls cost nothing, so that no account runs out of credits."
    if markup < LEAST_MARKUP:
        return (
            f"{with_it} a call costs so few credits that rounding up decides how many of them an "
            f"account can pay for. With {LEAST_MARKUP} and more it is shown."
        )
    return ""


def asked(upstream_url: str, model: str) -> int:
    """Return how often the loopback provider was asked for a model.

    Raises `httpx.HTTPError` where it does not answer.
    """
    answer = httpx.get(f"{upstream_url}/asked", trust_env=False).raise_for_status()
    return int(answer.json().get(model, 0))
