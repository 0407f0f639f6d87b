"""What the consumer counts of signatures: each verdict once a receipt, and nothing without one."""

import re
from unittest.mock import create_autospec

import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY

from charging.outcomes import Outcome, OutcomeKind
from charging.signature import VERDICTS
from consumer.extent import Extent
from consumer.health import Health
from consumer.observer import Observer
from consumer.offsets import Offsets
from ledger.queries import query
from tests.inputs.callbacks import charged, decided, element

COUNTED = "billing_consumer_attribution_signatures_total"


def outcome(*marks: str, kind: OutcomeKind = OutcomeKind.CREATED) -> Outcome:
    """The outcome of a call whose receipt has these marks."""
    receipt = replace(charged(element()).receipt, marks=list(marks))
    return Outcome(decided(element()), kind, receipt.charge_reason, receipt)


def counted() -> dict[str, float]:
    """How often each verdict is counted so far."""
    return {
        verdict: REGISTRY.get_sample_value(COUNTED, {"verdict": verdict}) or 0.0
        for verdict in VERDICTS.values()
    }


def test_each_signature_is_counted_by_what_it_is_worth() -> None:
    before = counted()
    observer = Observer(Health(60.0), create_autospec(Offsets))
    batch = [
        outcome("attribution_signed"),
        outcome("account_unsigned", "attribution_signed"),
        outcome("attribution_forged", "attribution_not_believed"),
        outcome("attribution_unknown_key"),
        outcome(),
        outcome("attribution_forged", kind=OutcomeKind.DUPLICATE),
    ]
    observer.count(batch, Extent.of([each.decided.record for each in batch]))
    grown = {verdict: count - before[verdict] for verdict, count in counted().items()}
    assert grown == {"signed": 2, "forged": 1, "unknown_key": 1}


@pytest.mark.parametrize("name", ["run_sums", "run_calls"])
def test_the_tree_of_a_run_knows_every_verdict(name: str) -> None:
    told = dict(re.findall(r"WHEN '(\w+)' = ANY\(spend.marks\) THEN '([\w ]+)'", query(name)))
    assert {mark: word.replace(" ", "_") for mark, word in told.items()} == VERDICTS
