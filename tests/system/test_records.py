"""What is on the callbacks topic, and what it does not decide."""

import json
from decimal import Decimal
from typing import Any

from tests.inputs import captures
from tests.inputs.captures import Calls
from tests.observers.deployment import Deployment
from tests.observers.ledger import Ledger
from tests.observers.topics import Topics

CALLBACKS = "billing.callbacks.v1"


def test_ACCEPTED_IS_DURABLE_the_records_are_there_when_the_answer_is(
    deployment: Deployment, topics: Topics, calls: Calls
) -> None:
    before = topics.ends(CALLBACKS)
    sent = [calls.make().element for _ in range(50)]
    counts = deployment.accept(captures.array(sent))
    assert counts == {"accepted": 50, "parked": 0, "spooled": 0}
    # Read to the end of this very moment, without waiting for anything.
    assert {record.value for record in topics.since(CALLBACKS, before)} == set(sent)


def test_RAW_BYTES_SURVIVE_whatever_the_form_of_the_body(
    deployment: Deployment, topics: Topics, calls: Calls
) -> None:
    before = topics.ends(CALLBACKS)
    odd = calls.with_cost("3.60000E-5").element
    spaced = odd.replace(b": ", b" :\t").replace(b'"id"', b'\n  "id"', 1)
    unicode = calls.make(messages="日本 😀").element.replace(b"\\u65e5", "日".encode())
    sent = [odd, spaced, unicode, *captures.elements("long-unicode.json")]
    deployment.accept(b" [ " + b" ,\r\n".join(sent) + b" ]\n")
    lines = [calls.make().element for _ in range(3)]
    deployment.accept(b"\n".join(lines) + b"\n")
    alone = calls.make().element
    deployment.accept(alone)
    found = [record.value for record in topics.since(CALLBACKS, before)]
    assert sorted(found) == sorted([*sent, *lines, alone])


def test_the_record_says_whence_and_when_it_came(
    deployment: Deployment, topics: Topics, calls: Calls
) -> None:
    before = topics.ends(CALLBACKS)
    run = calls.name("run")
    trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    body = captures.array([calls.in_run(run).element])
    deployment.post(body, headers={"traceparent": trace.decode()})
    deployment.post(body, headers={"traceparent": "nonsense"})
    first, second = sorted(topics.since(CALLBACKS, before), key=lambda record: record.offset)
    assert first.key == run.encode()
    assert first.headers["source"] == b"litellm"
    assert first.headers["content-type"] == b"application/json"
    assert first.headers["received-at"].endswith((b"Z", b"+00:00"))
    assert first.headers["gateway-version"]
    assert first.headers["call-key"]
    assert first.headers["traceparent"] == trace
    assert "traceparent" not in second.headers
    assert "lenient-json" not in first.headers


def test_ONE_RUN_ONE_PARTITION_and_runs_spread_over_partitions(
    deployment: Deployment, topics: Topics, calls: Calls
) -> None:
    before = topics.ends(CALLBACKS)
    runs = [calls.name("run") for _ in range(40)]
    for _ in range(3):
        deployment.accept(captures.array([calls.in_run(run).element for run in runs]))
    places: dict[bytes, set[int]] = {}
    for record in topics.since(CALLBACKS, before):
        places.setdefault(record.key, set()).add(record.partition)
    assert set(places) == {run.encode() for run in runs}
    assert all(len(partitions) == 1 for partitions in places.values())
    assert len(set.union(*places.values())) > 1


def test_COST_ORACLE_IS_LITELLM_no_other_figure_is_billed(
    deployment: Deployment, topics: Topics, ledger: Ledger, calls: Calls
) -> None:
    def lie(event: dict[str, Any]) -> None:
        event["cost_breakdown"] = {"total_cost": 99.0, "original_cost": 99.0}
        event["hidden_params"]["response_cost"] = 98.0
        event["metadata"]["usage_object"] = {"cost": 97.0}

    billed, zero = calls.altered(lie), calls.altered(lie, response_cost=0.0)
    deployment.accept(captures.array([billed.element, zero.element]))
    topics.wait_until_consumed()
    assert ledger.receipt(response_id=billed.response_id)["cost_text"] == "0.000036"
    assert ledger.receipts(response_id=zero.response_id) == []
    (deferred,) = ledger.deferred(response_id=zero.response_id)
    assert deferred["suggested_cost_usd"] == Decimal(99)


def test_COMMIT_AFTER_WRITE_what_is_committed_is_in_the_ledger(
    deployment: Deployment, topics: Topics, ledger: Ledger, calls: Calls
) -> None:
    run = calls.name("run")
    for round_number in range(1, 6):
        deployment.accept(captures.array([calls.in_run(run).element for _ in range(7)]))
        topics.wait_until_consumed()
        # The committed offset was seen first, so the rows must be there already.
        assert len(ledger.receipts(run_id=run)) == 7 * round_number


def test_ADAPTERS_NEVER_BILL_a_usage_unit_is_stored_and_charges_nothing(
    deployment: Deployment, topics: Topics, ledger: Ledger, calls: Calls
) -> None:
    run, unit_id = calls.name("run"), calls.name("u")[2:]
    unit = {
        "unit_id": unit_id,
        "run_id": run,
        "executor": "tests",
        "litellm_call_id": calls.name("call"),
        "finished_at": "2026-01-02T03:04:05Z",
        "tokens_in": 5,
    }
    body = json.dumps(unit).encode()
    for _ in range(2):
        answer = deployment.post(body, path="/v1/usage-units")
        assert answer.status_code == 202, answer.text
    topics.wait_until_consumed("billing.usage-units.v1")
    (row,) = ledger.usage_units(run_id=run)
    assert str(row["unit_id"]) == unit_id
    assert ledger.receipts(run_id=run) == []
    assert ledger.deferred(run_id=run) == []
    with_cost = json.dumps({**unit, "response_cost": 5}).encode()
    assert deployment.post(with_cost, path="/v1/usage-units").status_code == 422
