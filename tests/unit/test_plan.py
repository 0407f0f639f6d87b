"""The plan of a batch: one outcome each, told from what the ledger knows, without a database."""

import json
from collections.abc import Mapping, Sequence

import msgspec
import pytest

from charging.decision import decide
from charging.doubles import Success
from charging.outcomes import (
    Charge,
    Decided,
    DuplicateReason,
    Outcome,
    OutcomeKind,
    Resolution,
    Settlement,
)
from charging.pairing import Row
from ledger.links import Paired, calls_of, pair, told, with_settled
from ledger.payers import accounts_of
from ledger.plan import (
    FEW,
    Call,
    Compared,
    Existing,
    Plan,
    Written,
    compare,
    draft,
    outcomes,
    plan,
    resolved,
)
from schemas.headers import SETTLED_BY, SETTLED_CALL_KEY, SETTLED_NOTE
from schemas.receipt import Receipt
from tests.inputs.background import create, finished, read
from tests.inputs.callbacks import (
    USAGE_UNITS,
    costing,
    decided,
    element,
    policy,
    record,
    usage_unit,
)

ZERO = element(response_cost=0)


def charge_of(one: Decided) -> Charge:
    """The charge that a record must be decided as."""
    assert isinstance(one.decision, Charge), one.decision
    return one.decision


def call_of(one: Decided) -> Call:
    """The call that a record charges."""
    receipt = charge_of(one).receipt
    return (receipt.source_system, receipt.call_key)


def existing(*written: Decided) -> dict[Call, Existing]:
    """The receipts that these records have written, as the ledger tells of them."""
    return {
        call_of(one): Existing(
            one.record.provenance,
            charge_of(one).content_hash,
            charge_of(one).receipt.response_cost_usd,
            charge_of(one).receipt.cost_source,
        )
        for one in written
    }


def compared(batch: Sequence[Decided], there: Mapping[Call, Existing] | None = None) -> Compared:
    """A batch without background responses, against these receipts."""
    return compare(draft(Paired(batch)), there or {})


def planned(
    batch: Sequence[Decided],
    there: Mapping[Call, Existing] | None = None,
    successes: Sequence[Success] = (),
) -> Plan:
    """The plan of such a batch."""
    return plan(compared(batch, there), successes)


def words(found: Sequence[Outcome]) -> list[str]:
    """Outcome and reason of each record."""
    return [f"{one.outcome} {one.reason}" for one in found]


def became(planned: Plan, written: Written | None = None) -> list[str]:
    """What became of each record, when all that was new to the ledger is `written`."""
    return words(outcomes(planned, written or Written()))


def keys(planned: Plan) -> list[str]:
    """The call keys of the receipts that are written."""
    return sorted(charge.receipt.call_key for _, charge in planned.receipts)


def test_a_new_call_is_created_with_its_event() -> None:
    one = decided(element())
    made = planned([one])
    assert became(made) == ["created usage"]
    assert made.receipts == [(one.record, one.decision)]
    assert [each.receipt for each in outcomes(made, Written())] == [charge_of(one).receipt]


def test_receipts_go_in_the_order_of_their_ids_and_outcomes_in_that_of_the_batch() -> None:
    batch = [decided(element(id=str(number))) for number in range(20)]
    made = planned(batch)
    ids = [charge.receipt.id.int for _, charge in made.receipts]
    assert ids == sorted(ids)
    assert [each.decided for each in outcomes(made, Written())] == batch


def test_the_record_that_wrote_a_receipt_is_a_replay_and_publishes_what_the_ledger_has() -> None:
    """Under other settings it would say something else; the receipt is what was written."""
    first = decided(element(), offset=5)
    again = decided(element(), policy(markup="2"), offset=5)
    made = planned([again], existing(first))
    assert made.receipts == []
    [id_] = made.replays.values()
    written = charge_of(first).receipt
    [found] = outcomes(made, Written(replayed={id_: written}))
    assert (found.outcome, found.reason) == (OutcomeKind.DUPLICATE, DuplicateReason.REPLAYED)
    assert found.receipt is written


def test_another_record_of_the_call_is_a_duplicate_without_an_event() -> None:
    first = decided(element(), offset=5)
    for repeat in (decided(element(), offset=6), decided(element(), offset=5, partition=1)):
        made = planned([repeat], existing(first))
        assert became(made) == ["duplicate receipt"]
        assert (made.receipts, made.conflicts, dict(made.replays)) == ([], [], {})
        assert outcomes(made, Written())[0].receipt is None


def test_another_content_is_a_conflict_that_is_kept_aside() -> None:
    first, other = decided(element()), decided(costing("1"))
    made = planned([other], existing(first))
    assert became(made) == ["conflict content"]
    assert made.receipts == []
    [row] = made.conflicts
    assert row["receipt_content_hash"] == charge_of(first).content_hash
    assert row["conflict_content_hash"] == charge_of(other).content_hash
    assert row["charge_receipt_id"] == charge_of(first).receipt.id


@pytest.mark.parametrize(
    ("written", "late"),
    [
        ("0.0003300000000000001", "0.00033000000000000005"),
        ("0.00033000000000000005", "0.0003300000000000001"),
    ],
    ids=["the row first", "the callback first"],
)
def test_the_same_amount_with_a_digit_more_or_less_is_a_duplicate(written: str, late: str) -> None:
    first, other = decided(costing(written)), decided(costing(late))
    made = planned([other], existing(first))
    assert became(made) == ["duplicate receipt"]
    assert (made.receipts, made.conflicts) == ([], [])
    assert became(planned([first, other])) == ["created usage", "duplicate receipt"]


@pytest.mark.parametrize(
    "late",
    [
        costing("0.000330000000001"),
        costing("0.00033000000000000005", prompt_tokens=121),
        costing("0.00033000000000000005", end_user="another"),
    ],
    ids=["dearer", "other tokens", "another account"],
)
def test_what_says_more_than_another_digit_is_a_conflict(late: bytes) -> None:
    first = decided(costing("0.0003300000000000001"))
    made = planned([decided(late)], existing(first))
    assert became(made) == ["conflict content"]
    assert len(made.conflicts) == 1


def test_conflicts_are_written_in_the_order_of_their_calls() -> None:
    batch = [decided(element(id=name)) for name in "cab"]
    there = existing(*(decided(costing("1", id=name)) for name in "cab"))
    rows = [row["call_key"] for row in planned(batch, there).conflicts]
    assert rows == sorted(rows)
    assert len(rows) == 3


def test_of_one_call_in_one_batch_the_first_record_is_the_receipt() -> None:
    first, same, other = decided(element()), decided(element()), decided(costing("5"))
    made = planned([first, same, other, same])
    assert became(made) == [
        "created usage",
        "duplicate receipt",
        "conflict content",
        "duplicate receipt",
    ]
    assert made.receipts == [(first.record, first.decision)]
    assert len(made.conflicts) == 1


def test_the_same_record_twice_in_one_batch_is_published_once_and_then_replayed() -> None:
    one = decided(element())
    made = planned([one, one])
    assert keys(made) == [call_of(one)[1]]
    assert list(made.replays) == [1]


@pytest.mark.parametrize(("source", "new"), [(None, False), ("litellm/eu", True)])
def test_each_source_has_its_own_calls(source: str | None, *, new: bool) -> None:
    made = planned([decided(element(), source=source)], existing(decided(element())))
    assert became(made) == ["created usage" if new else "duplicate receipt"]


def test_what_is_in_no_table_keeps_its_reason() -> None:
    batch = [
        decided(element(id=None, litellm_call_id=None)),
        decided(element(status="failure", response_cost=0)),
    ]
    made = planned(batch)
    assert became(made) == ["parked no_usable_id", "skipped failed_call"]
    assert [*made.calls, *made.deferrals, *made.units] == []


def test_a_deferral_is_new_or_a_duplicate_as_the_ledger_answers() -> None:
    batch = [decided(ZERO), decided(ZERO)]
    made = planned(batch)
    assert list(made.deferrals) == [0, 1]
    assert became(made, Written(deferrals={0})) == [
        "deferred suspicious_zero",
        "duplicate deferred",
    ]
    assert became(made) == ["duplicate deferred"] * 2


def test_a_usage_unit_is_new_or_known_and_charges_nothing() -> None:
    unit = record(msgspec.json.encode(usage_unit()), topic=USAGE_UNITS)
    batch = [Decided(unit, decide(unit, policy()))] * 2
    made = planned(batch)
    assert became(made, Written(units={0})) == ["unit new", "unit known"]
    assert made.receipts == []


def settled_by_hand(**fields: object) -> Decided:
    """The cost of a call as `deferred settle` sends it."""
    taken = record(element(**fields), headers=[(SETTLED_BY, b"ada"), (SETTLED_NOTE, b"a list")])
    return Decided(taken, decide(taken, policy()))


def test_a_receipt_closes_the_open_deferral_of_its_call_and_no_other() -> None:
    first, second = decided(element(id="1")), decided(element(id="2"))
    made = planned([first, second, first])
    others = {("litellm/eu", call_of(second)[1])}
    [closed] = resolved(made, dict.fromkeys({call_of(first)} | others))
    assert (closed.call, closed.resolution, closed.settlement) == (
        call_of(first),
        Resolution.CALLBACK,
        None,
    )
    assert resolved(made, {}) == []


def test_a_settlement_closes_the_deferral_and_says_who_and_why() -> None:
    one = settled_by_hand()
    [closed] = resolved(planned([one]), {call_of(one): None})
    assert closed.resolution is Resolution.SETTLED
    assert closed.settlement == Settlement("ada", "a list")


def test_a_duplicate_closes_what_a_race_left_open() -> None:
    one = decided(element())
    [closed] = resolved(planned([one], existing(decided(element()))), {call_of(one): None})
    assert closed.resolution is Resolution.CALLBACK


def test_a_receipt_of_a_callback_is_not_credited_to_who_settles_later() -> None:
    late = settled_by_hand()
    made = planned([late], existing(decided(element())))
    assert became(made) == ["duplicate receipt"]
    [closed] = resolved(made, {call_of(late): None})
    assert (closed.resolution, closed.settlement) == (Resolution.CALLBACK, None)


def test_a_deferral_beside_its_settlement_knows_who_settled_it() -> None:
    one = settled_by_hand()
    made = planned([decided(ZERO), one])
    assert dict(made.settlements) == {call_of(one): Settlement("ada", "a list")}


DOUBLE = {"id": "resp-1", "call_type": "aresponses"}


def marked(made: Plan) -> list[str]:
    """The response ids of receipts that may be doubles."""
    return [
        charge.receipt.response_id
        for _, charge in made.receipts
        if "possible_double" in charge.receipt.marks
    ]


def test_of_two_successes_of_one_request_in_one_batch_the_later_is_marked() -> None:
    made = planned([decided(element()), decided(element(**DOUBLE))])
    assert marked(made) == ["resp-1"]
    published = [one.receipt.marks for one in outcomes(made, Written()) if one.receipt]
    assert published == [[], ["possible_double"]]


def success_of(receipt: Receipt) -> Success:
    """What the ledger tells of a receipt to compare others with it."""
    return Success(
        receipt.source_system,
        receipt.litellm_call_id or "",
        receipt.response_cost_usd,
        receipt.tokens_in,
        receipt.tokens_out,
        receipt.occurred_at,
        receipt.latency_ms,
    )


def test_a_second_success_of_a_request_of_the_ledger_is_marked() -> None:
    earlier = success_of(charge_of(decided(element())).receipt)
    assert marked(planned([decided(element(**DOUBLE))], successes=[earlier])) == ["resp-1"]
    assert marked(planned([decided(element(**DOUBLE))])) == []


def test_the_ledger_is_asked_for_successes_of_new_calls_of_small_batches_only() -> None:
    first = decided(element())
    assert compared([first]).requests == ["call-1"]
    assert compared([first], existing(first)).requests == []
    many = [
        decided(element(id=str(number), litellm_call_id=f"call-{number}"))
        for number in range(FEW + 1)
    ]
    assert compared(many).requests == []
    assert len(compared(many, existing(many[0])).requests) == FEW


def paired(batch: Sequence[Decided], rows: Sequence[Row] = ()) -> Paired:
    """A batch whose background responses are judged, with these deferrals of all of them."""
    links = with_settled(told(batch), [])
    return pair(batch, links, dict.fromkeys(links.values(), rows), {})


def test_a_create_and_its_read_in_one_batch_are_one_receipt_and_a_closed_deferral() -> None:
    batch = [decided(create()), decided(read()), decided(read())]
    both = paired(batch)
    made = plan(compare(draft(both), {}), ())
    assert became(made, Written(deferrals={0})) == [
        "deferred awaiting_result",
        "created usage",
        "duplicate receipt",
    ]
    [(record_of_read, charge)] = made.receipts
    assert record_of_read is batch[1].record
    assert (charge.receipt.run_id, charge.receipt.billing_account_id) == ("run-bg", "acme")
    [closing] = made.closings
    assert (closing.resolution, closing.result_key) == (Resolution.RESULT, charge.receipt.call_key)


def test_a_create_after_its_read_makes_the_receipt_and_is_born_closed() -> None:
    waiting = paired([decided(read())])
    [deferred] = draft(waiting).deferrals.values()
    row = Row(deferred.call_key, deferred.reason, ("t", 0, 1), deferred.held)
    ordered = decided(create())
    made = plan(compare(draft(paired([ordered], [row])), {}), ())
    assert became(made, Written(deferrals={0})) == ["created usage"]
    assert list(made.deferrals) == [0]
    assert len(made.closings) == 1


def test_a_read_without_a_create_waits_for_it() -> None:
    made = plan(compare(draft(paired([decided(read())])), {}), ())
    assert became(made, Written(deferrals={0})) == ["deferred awaiting_create"]
    assert made.receipts == []


def test_only_what_speaks_of_a_response_asks_for_what_waits() -> None:
    plain, settled, done = decided(element()), settled_by_hand(id="2"), decided(finished())
    said = told([plain, settled, done])
    assert (list(said.links), list(said.settled)) == ([2], [1])
    source, key = call_of(settled)
    links = with_settled(said, [(source, key, "digest"), ("litellm/eu", key, "other")])
    assert list(links) == [1, 2]
    assert links[1] == (source, "digest")
    asked = calls_of([plain, settled, done], links, {})
    assert asked == {call_of(settled), call_of(done)}


def test_a_settled_read_is_the_receipt_of_the_create_that_waits() -> None:
    [waiting] = draft(paired([decided(read())])).deferrals.values()
    [ordered] = draft(paired([decided(create())])).deferrals.values()
    assert ordered.link is not None
    row = Row(ordered.call_key, ordered.reason, ("t", 0, 1), ordered.held)
    headers = [(SETTLED_BY, b"ada"), (SETTLED_CALL_KEY, waiting.call_key.encode())]
    taken = record(read(), headers=headers)
    one = Decided(taken, decide(taken, policy()))
    links = with_settled(told([one]), [(*call_of(one), ordered.link.digest)])
    both = pair([one], links, {link: [row] for link in links.values()}, {})
    made = plan(compare(draft(both), {}), ())
    assert became(made) == ["created usage"]
    assert [closing.call_key for closing in made.closings] == [ordered.call_key]


SERVER = element(
    id="s", litellm_call_id="s", end_user="run-7/2", metadata={"user_api_key_team_id": "team"}
)
NOBODY = element(
    id="n",
    litellm_call_id="n",
    end_user=None,
    metadata={"spend_logs_metadata": {"run_id": "run-7", "attempt": 2}},
)
RUN_7 = ("run-7", 2)


def paid(*batch: Decided, known: Mapping[tuple[str, int], str] | None = None) -> list[Receipt]:
    """The receipts of a batch whose calls are new; `known` are accounts of runs in the ledger."""
    compared = compare(draft(Paired(batch)), {})
    accounts = accounts_of(compared.draft.units.values(), known or {}) if compared.runs else {}
    return [charge.receipt for _, charge in plan(compared, (), accounts).receipts]


def registered(account: str, attempt: int = 2) -> Decided:
    """A unit that says who pays for the run."""
    value = usage_unit(run_id="run-7", attempt=attempt, billing_account_id=account)
    taken = record(json.dumps(value).encode(), topic=USAGE_UNITS)
    return Decided(taken, decide(taken, policy()))


@pytest.mark.parametrize("value", [SERVER, NOBODY])
def test_the_account_of_a_run_pays_for_calls_that_name_the_run_and_no_account(value: bytes) -> None:
    [before] = paid(decided(value))
    assert before.billing_account_id in {"team", "unattributed"}
    [receipt] = paid(decided(value), known={RUN_7: "acme"})
    assert receipt.billing_account_id == "acme"
    assert "account_of_run" in receipt.marks
    assert "unattributed_account" not in receipt.marks
    # Another attempt has an account of its own.
    assert paid(decided(value), known={("run-7", 1): "acme"}) == [before]


def test_what_was_named_first_pays_and_a_unit_of_the_same_batch_counts() -> None:
    units = [registered("first"), registered("second"), registered("other", attempt=3)]
    [receipt] = paid(decided(SERVER), *units)
    assert receipt.billing_account_id == "first"
    [receipt] = paid(decided(SERVER), *units, known={RUN_7: "known"})
    assert receipt.billing_account_id == "known"


@pytest.mark.parametrize(
    "fields",
    [
        {"end_user": "customer"},
        {"end_user": None, "metadata": {"spend_logs_metadata": {}}},
        {
            "end_user": None,
            "metadata": {
                "user_api_key_team_id": "team",
                "spend_logs_metadata": {"run_id": "run-7", "attempt": 2},
            },
        },
        {
            "end_user": "run-7/2",
            "metadata": {"user_api_key_alias": "litellm-internal-health-check"},
        },
    ],
    ids=["an account", "no run", "a team that is no server's", "nobody's customer"],
)
def test_whoever_names_an_account_pays_itself(fields: dict[str, object]) -> None:
    one = decided(element(**fields))
    assert not compare(draft(Paired([one])), {}).runs
    [receipt] = paid(one, known={RUN_7: "acme"})
    assert receipt == charge_of(one).receipt


def test_a_repeat_after_the_account_was_named_is_no_conflict() -> None:
    first = decided(SERVER)
    compared = compare(draft(Paired([first])), {})
    [(_, written)] = plan(compared, (), {RUN_7: "acme"}).receipts
    assert written.content_hash == charge_of(first).content_hash
