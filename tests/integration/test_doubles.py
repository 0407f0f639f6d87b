"""One request of a client with two successes of equal figures: two receipts, the later marked."""

from typing import Any

import pytest

from ledger.receipts import ReceiptWriter
from tests.databases.writing import write
from tests.inputs.callbacks import ENDED, decided, element
from tests.observers.ledger import Ledger as Tables

RESPONSE: dict[str, Any] = {"id": "resp-1", "call_type": "aresponses"}


def marked(tables: Tables) -> list[str]:
    """The response ids of receipts that may be doubles."""
    return [row["response_id"] for row in tables.receipts() if "possible_double" in row["marks"]]


@pytest.mark.parametrize("together", [True, False], ids=["one batch", "two batches"])
@pytest.mark.parametrize("later", [0.0, 0.4321], ids=["same end", "later end"])
def test_17_one_call_with_two_ids_is_two_receipts_and_the_later_is_marked(
    *, ledger: ReceiptWriter, tables: Tables, together: bool, later: float
) -> None:
    first, second = decided(element()), decided(element(**RESPONSE, endTime=ENDED + later))
    if together:
        assert write(ledger, first, second) == ["created usage", "created usage"]
    else:
        assert write(ledger, first) + write(ledger, second) == ["created usage", "created usage"]
    assert marked(tables) == ["resp-1"]
    assert write(ledger, second) == ["duplicate replayed"]
    assert len(tables.receipts()) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"response_cost": 0.5},
        {"prompt_tokens": 121},
        {"completion_tokens": None},
        {"startTime": ENDED - 1.4},
        {"startTime": None},
        {"litellm_call_id": "call-2"},
        {"litellm_call_id": None},
        {"status": "failure"},
        {"metadata": {"is_silent_experiment": True}},
    ],
)
def test_two_calls_that_differ_in_anything_are_not_marked(
    ledger: ReceiptWriter, tables: Tables, other: dict[str, object]
) -> None:
    write(ledger, decided(element()), decided(element(**{**RESPONSE, **other})))
    assert (len(tables.receipts()), marked(tables)) == (2, [])


def test_the_same_call_id_of_another_source_is_another_call(
    ledger: ReceiptWriter, tables: Tables
) -> None:
    write(ledger, decided(element()), decided(element(**RESPONSE), source="litellm/eu"))
    assert (len(tables.receipts()), marked(tables)) == (2, [])


def test_a_large_batch_is_compared_with_itself(ledger: ReceiptWriter, tables: Tables) -> None:
    many = [element(id=f"chat-{n}", litellm_call_id=f"call-{n}") for n in range(150)]
    again = element(id="resp-7", litellm_call_id="call-7")
    write(ledger, *(decided(value) for value in (*many, again)))
    assert marked(tables) == ["resp-7"]
