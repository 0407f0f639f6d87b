"""Every captured body of a real LiteLLM proxy, posted as it is, becomes what expected.tsv says."""

from collections import Counter
from decimal import Decimal

import pytest

from tests.inputs import captures
from tests.inputs.captures import Expected
from tests.observers.deployment import Deployment
from tests.observers.ledger import Ledger, credits_for
from tests.observers.topics import Topics

EXPECTED = captures.expectations()


@pytest.fixture(scope="module", autouse=True)
def posted(deployment: Deployment, topics: Topics) -> None:
    """Post every file once, in the order of expected.tsv, and wait until all is consumed."""
    events = Counter(line.file for line in EXPECTED)
    for file in captures.files():
        counts = deployment.accept(captures.body(file))
        assert counts == {"accepted": events[file], "parked": 0, "spooled": 0}, file
    topics.wait_until_consumed()


@pytest.mark.parametrize("file", captures.files())
def test_MONEY_IS_EXACT_each_event_becomes_what_is_expected(file: str, ledger: Ledger) -> None:
    for line in (line for line in EXPECTED if line.file == file):
        names = {"litellm_call_id": line.litellm_call_id, "response_id": line.response_id}
        names["source_system"] = "litellm"
        receipts, deferred = ledger.receipts(**names), ledger.deferred(**names)
        where = f"{file}[{line.index}]"
        match line.verdict:
            case "RECEIPT":
                assert [row["cost_text"] for row in receipts] == [line.amount], where
                check_charge(line, receipts[0]["charged_credits"], receipts[0]["charged_text"])
                assert deferred == [], where
            case "DEDUP":
                assert len(receipts) == 1, where
            case "SKIP":
                assert (receipts, deferred) == ([], []), where
            case "DEFER":
                assert receipts == [], where
                assert [row["reason"] for row in deferred] == ["suspicious_zero"], where
                assert deferred[0]["resolved_at"] is None, where
        assert ledger.conflicts(source_system="litellm") == [], where


def check_charge(line: Expected, charged_credits: int, charged_usd: str) -> None:
    """At markup 1 the charge is the cost, and the credits are rounded up once."""
    assert charged_credits == credits_for(line.amount)
    assert Decimal(charged_usd) == Decimal(line.amount)


def test_NO_ZERO_RECEIPTS_FOR_PAID_MODELS_a_zero_always_says_why(ledger: Ledger) -> None:
    zeros = [row for row in ledger.receipts() if row["response_cost_usd"] == 0]
    assert zeros, "the captures hold free models and cache hits"
    reasons = {row["charge_reason"] for row in zeros}
    assert reasons <= {"free_model", "cache_hit", "health_probe", "silent_experiment"}


def test_details_are_filled_where_the_event_has_them(ledger: Ledger) -> None:
    row = ledger.receipt(response_id=_id_of("real-cached-reasoning-tokens.json"))
    assert row["tokens_in"] > row["tokens_cached_in"] > 0
    assert row["tokens_out"] >= row["tokens_reasoning"] > 0
    assert row["latency_ms"] >= 0
    assert row["provider"] == "openai"
    streamed = ledger.receipt(response_id=_id_of("real-stream-usageopt.json"))
    assert streamed["stream"] is True
    assert 0 <= streamed["ttft_ms"] <= streamed["latency_ms"]
    assert streamed["run_id"]
    plain = ledger.receipt(response_id=_id_of("real-nonstream.json"))
    assert plain["stream"] is False
    assert plain["tags"]
    sub_agent = ledger.receipt(response_id=_id_of("mock-stream-usage.json"))
    assert sub_agent["sub_agent_id"]


def _id_of(file: str) -> str:
    return next(line.response_id for line in EXPECTED if line.file == file)
