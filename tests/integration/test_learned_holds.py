"""What the spend guard holds for a call: by rates that it learns from receipts, again and again."""

import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from tests.databases.writing import write_to
from tests.inputs.callbacks import costing, decided, policy
from tests.processes.guarding import TOKEN, SpendGuard, bearer
from tests.waiting import eventually

INPUT, OUTPUT = Decimal("0.00000015"), Decimal("0.0000006")
"""1.5 and 6 credits a token."""
FEWEST = 20
PRICES = {"input_price_usd": "0.000001", "output_price_usd": "0.000002"}
"""10 and 20 credits a token, as LiteLLM says."""


def receipts(url: str, model: str, count: int, times: int = 1) -> None:
    """Write receipts of calls of a model that ended just now, at so many times the list price.

    `own` is the model that the operator calls free.
    """
    now, names = time.time(), [uuid4().hex for _ in range(count)]
    calls = [
        costing(
            f"{(INPUT * (100 + at) + OUTPUT * (10 + at % 7)) * times:f}",
            id=name,
            litellm_call_id=name,
            model_group=model,
            prompt_tokens=100 + at,
            completion_tokens=10 + at % 7,
            startTime=now - 2,
            completionStartTime=now - 1.5,
            endTime=now - 1,
        )
        for at, name in enumerate(names)
    ]
    rules, received_ms = policy(free=("own",)), int(now * 1_000)
    written = write_to(url, [decided(one, rules, received_ms=received_ms) for one in calls])
    assert len(written) == count


@pytest.fixture
def guard(migrated_database_url: str, tmp_path: Path) -> Iterator[SpendGuard]:
    """A guard that learns often; of `mini` enough calls are known, of `rare` one too few."""
    receipts(migrated_database_url, "mini", FEWEST)
    receipts(migrated_database_url, "rare", FEWEST - 1)
    guard = SpendGuard(
        migrated_database_url,
        tmp_path,
        SPEND_GUARD_RATES_S="0.2",
        ESTIMATE_FEWEST_CALLS=str(FEWEST),
        ESTIMATED_USD_PER_1K_TOKENS="0.1",
        ESTIMATED_ANSWER_TOKENS="500",
        BILLING_MARKUP="2",
    )
    with guard.running():
        eventually(lambda: guard.metric("billing_guard_rates_models"), "rates")
        yield guard


def held(guard: SpendGuard, model: str, **call: object) -> int:
    """What is held for a call of a model."""
    body = {"account": "acct", "litellm_call_id": uuid4().hex, "nonce": "n", "model": model}
    asked = {**body, "estimate": {"prompt_tokens": 1_000, "max_tokens": 100, **call}}
    answer = guard.client.post(f"{guard.url}/v1/holds", json=asked, headers=bearer(TOKEN))
    assert answer.status_code == 200, answer.text
    return int(answer.json()["amount"])


def test_a_call_is_held_for_by_learned_rates_by_the_price_or_by_the_last_resort(
    guard: SpendGuard,
) -> None:
    assert held(guard, "mini", **PRICES) == (1_500 + 600) * 2
    assert held(guard, "mini") == (1_500 + 600) * 2
    assert held(guard, "mini", n=3) == (1_500 + 3 * 600) * 2
    # Any length: the longest answer that was seen has 16 tokens.
    assert held(guard, "mini", max_tokens=None) == (1_500 + 16 * 6) * 2
    assert held(guard, "rare", **PRICES) == (10_000 + 2_000) * 2
    assert held(guard, "rare", max_tokens=None, **PRICES) == (10_000 + 500 * 20) * 2
    assert held(guard, "rare") == 1_100 * 1_000 * 2
    assert held(guard, "never seen", max_tokens=None) == 1_500 * 1_000 * 2
    counted = {
        by: guard.metric("billing_guard_amounts_total", by=by)
        for by in ("learned", "price", "last_resort", "named")
    }
    assert counted == {"learned": 4, "price": 2, "last_resort": 2, "named": 0}


def test_what_becomes_dearer_or_known_is_learned_while_it_runs(
    guard: SpendGuard, migrated_database_url: str
) -> None:
    receipts(migrated_database_url, "rare", 1)
    eventually(lambda: held(guard, "rare", **PRICES) == (1_500 + 600) * 2, "rates of `rare`")
    # Deployments of one group at two prices: what is held covers the dearer one.
    receipts(migrated_database_url, "mini", FEWEST, times=3)
    eventually(lambda: held(guard, "mini") >= (1_500 + 600) * 2 * 3, "the dearer rates")
    assert guard.metric("billing_guard_rates_models") == 2


def test_a_model_whose_receipts_are_all_free_holds_nothing(
    guard: SpendGuard, migrated_database_url: str
) -> None:
    receipts(migrated_database_url, "own", 1, times=0)
    eventually(lambda: held(guard, "own", **PRICES) == 0, "that it is free")


def test_while_nothing_can_be_learned_the_former_rates_count(
    guard: SpendGuard, migrated_database_url: str
) -> None:
    with psycopg.connect(migrated_database_url, autocommit=True) as connection:
        connection.execute("REVOKE SELECT ON billing.charge_receipts FROM billing_guard")
        eventually(
            lambda: guard.metric("billing_guard_faults_total", doing="learning"), "a failure"
        )
        assert held(guard, "mini", **PRICES) == (1_500 + 600) * 2
        assert '"rates_not_learned"' in guard.log.read_text()
        assert guard.probe("/readyz") == guard.probe("/livez") == 200
        old = guard.metric("billing_guard_rates_age_seconds")
        eventually(lambda: guard.metric("billing_guard_rates_age_seconds") > old, "age")
        connection.execute("GRANT SELECT ON billing.charge_receipts TO billing_guard")
        receipts(migrated_database_url, "rare", 1)
    eventually(lambda: held(guard, "rare", **PRICES) == (1_500 + 600) * 2, "rates of `rare`")


def test_a_guard_that_cannot_read_receipts_is_ready_and_holds_by_the_price(
    migrated_database_url: str, tmp_path: Path
) -> None:
    with psycopg.connect(migrated_database_url, autocommit=True) as connection:
        connection.execute("REVOKE SELECT ON billing.charge_receipts FROM billing_guard")
    guard = SpendGuard(migrated_database_url, tmp_path)
    with guard.running():
        assert held(guard, "mini", **PRICES) == 10_000 + 2_000
