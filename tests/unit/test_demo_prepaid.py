"""The demo's prepaid account: how much it is granted, and each broken promise of it."""

import asyncio
import secrets
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

import demo
from charging.money import charge, credits_of
from demo.calls import AFFORDED_CALLS, DEAR, DEAR_AT_PROVIDER, Answer, prepaid
from demo.ledger import Ledger, Receipt
from demo.prepaid import GRANT_USD, Credit, Hold, Movement, Prepaid, why_not
from demo.upstream import COMPLETION_TOKENS, PROMPT_TOKENS, app
from demo.verdict import judge_credit

AFFORDED, REFUSED = (calls[0] for calls in prepaid("zoe"))
WORDS = "Account 'zoe' has not enough credit for this call: it may cost 0.29 USD."
PREPAID = (
    Answer(call=AFFORDED, status=200, call_id="p", cost="0.28"),
    Answer(call=REFUSED, status=402, call_id="q", cost="0", message=WORDS),
)
CHARGED = Receipt(
    litellm_call_id="p",
    billing_account_id="zoe",
    run_id=None,
    sub_agent_id=None,
    model=DEAR,
    stream=False,
    tokens_in=8,
    tokens_out=4,
    charge_reason="usage",
    response_cost_usd=Decimal("0.28"),
    charged_usd=Decimal("0.28"),
    charged_credits=2_800_000,
)
OF_ANOTHER = replace(CHARGED, litellm_call_id="o", billing_account_id="acme")
PAID = Ledger(receipts=(CHARGED, OF_ANOTHER), deferred=(), records={})
GRANT = Movement(
    reason="grant", amount_usd=Decimal("0.4"), balance_usd=Decimal("0.4"), receipts=None
)
DEBIT = Movement(
    reason="charge_receipt",
    amount_usd=Decimal("-0.28"),
    balance_usd=Decimal("0.12"),
    receipts=1,
)
CAPTURED = Hold(
    litellm_call_id="p",
    state="captured",
    amount_usd=Decimal("0.29"),
    captured_usd=Decimal("0.28"),
)
CREDIT = Credit(
    account="zoe",
    kind="prepaid",
    balance_usd=Decimal("0.12"),
    held_usd=Decimal(0),
    available_usd=Decimal("0.12"),
    movements=(DEBIT, GRANT),
    holds=(CAPTURED,),
)


def broken_credit(
    answers: tuple[Answer, ...] = PREPAID,
    ledger: Ledger = PAID,
    credit: Credit = CREDIT,
    asked: int = 1,
) -> str:
    checks = judge_credit(answers, ledger, credit, Decimal("0.4"), asked)
    return "\n".join(f"{c.sentence}: {c.seen}" for c in checks if not c.holds)


def test_a_prepaid_account_holds() -> None:
    assert broken_credit() == ""


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (replace(PREPAID[1], status=200, message=""), "prepaid 4: 200"),
        (replace(PREPAID[1], status=500), "prepaid 4: 500"),
        (replace(PREPAID[1], message="Payment required"), "was told: Payment required"),
        (replace(PREPAID[1], message=WORDS.replace("zoe", "acme")), "was told: Account 'acme'"),
    ],
)
def test_a_call_that_was_not_refused_as_it_should_be_is_named(answer: Answer, seen: str) -> None:
    assert seen in broken_credit((PREPAID[0], answer))


def test_a_call_that_was_refused_though_it_could_be_paid_for_is_named() -> None:
    assert "prepaid 1: 402" in broken_credit((replace(PREPAID[0], status=402), PREPAID[1]))


@pytest.mark.parametrize("asked", [0, 2])
def test_a_model_that_was_asked_for_a_refused_call_is_named(asked: int) -> None:
    assert f"asked {asked} times" in broken_credit(asked=asked)


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"balance_usd": Decimal("0.1200001")}, "0.1200001 left"),
        ({"movements": (GRANT,)}, "the movements are not the balance"),
        ({"held_usd": Decimal("0.29")}, "0.29 USD held"),
        ({"available_usd": Decimal("0.11")}, "0.11 available"),
        ({"holds": ()}, "0 of 0 holds captured"),
        ({"holds": (replace(CAPTURED, state="held"),)}, "0 of 1 holds captured"),
        ({"holds": (replace(CAPTURED, litellm_call_id="x"),)}, "1 of 1 holds captured"),
    ],
)
def test_an_account_that_does_not_add_up_is_named(change: dict[str, Any], seen: str) -> None:
    assert seen in broken_credit(credit=replace(CREDIT, **change))


def test_a_receipt_of_a_refused_call_is_named() -> None:
    more = replace(PAID, receipts=(*PAID.receipts, replace(CHARGED, litellm_call_id="q")))
    assert "2 receipts" in broken_credit(ledger=more)


@pytest.mark.parametrize("markup", ["0.0001", "0.000123456789", "0.3333333333", "1", "100"])
@pytest.mark.parametrize("prompt", range(1, 14))
def test_three_calls_are_afforded_and_no_fourth_whenever_their_receipts_come(
    prompt: int, markup: str
) -> None:
    """The tokens that the plugin counts in the prompt are nine; a tokenizer may count others."""
    models = yaml.safe_load((Path(demo.__file__).parent / "models.yaml").read_text())["model_list"]
    (dear,) = (one["litellm_params"] for one in models if one["model_name"] == DEAR)
    tokens_in = Decimal(str(dear["input_cost_per_token"]))
    tokens_out = Decimal(str(dear["output_cost_per_token"]))
    cost = PROMPT_TOKENS * tokens_in + COMPLETION_TOKENS * tokens_out
    most = prompt * tokens_in + (AFFORDED.max_tokens or 0) * tokens_out
    charged, held = (charge(usd, Decimal(markup))[1] for usd in (cost, most))
    granted = credits_of(Prepaid("postgresql://", Decimal(markup)).granted_usd)
    assert why_not(Decimal(markup)) == ""
    assert dear["model"] == f"openai/{DEAR_AT_PROVIDER}"
    assert AFFORDED_CALLS * held <= granted
    assert granted - AFFORDED_CALLS * charged < held


@pytest.mark.parametrize("markup", ["0", "0.00", "0E-5"])
def test_nobody_runs_out_of_credits_where_calls_cost_nothing(markup: str) -> None:
    assert "calls cost nothing" in why_not(Decimal(markup))


@pytest.mark.parametrize("markup", ["0.000000000001", "4E-7", "0.00009999"])
def test_a_markup_with_which_rounding_decides_is_named_without_an_exponent(markup: str) -> None:
    why = why_not(Decimal(markup))
    assert f"BILLING_MARKUP={Decimal(markup):f} " in why
    assert "rounding" in why


@pytest.mark.parametrize("markup", ["0.0001", "0.3333333333", "1", "1.25", "100"])
def test_what_is_granted_follows_the_markup_in_whole_credits(markup: str) -> None:
    granted = Prepaid("postgresql://", Decimal(markup)).granted_usd
    assert granted >= GRANT_USD * Decimal(markup)
    assert granted * 10_000_000 % 1 == 0
    assert granted - GRANT_USD * Decimal(markup) < Decimal("0.0000001")


def test_the_provider_counts_what_each_model_was_asked_for() -> None:
    model = f"acme-{secrets.token_hex(4)}"

    async def counted() -> list[int]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://provider") as provider:
            before = (await provider.get("/asked")).json()
            for _ in range(2):
                await provider.post("/v1/chat/completions", json={"model": model})
            after = (await provider.get("/asked")).json()
        return [before.get(model, 0), after[model]]

    assert asyncio.run(counted()) == [0, 2]
