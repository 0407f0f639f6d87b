"""The story of a call: what came, what was decided and why, and what is missing. Pure.

Put together of what the ledger holds and of what was found in Kafka. Amounts stay decimals and
times times: whoever prints the story says how.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from charging.outcomes import DeferredReason, Resolution, SkippedReason
from ledger.calls import Books
from operator_cli.sightings import Letter, Seen
from operator_cli.words import (
    CHARGED,
    CLOSED,
    DEFERRED,
    PARKED,
    SETTLED,
    SKIPPED,
    contradiction,
    correction,
    misspelling,
    remarks,
)
from schemas.headers import Reason
from schemas.receipt import ChargeReason, plain
from schemas.record import Provenance

Row: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[str, str]
"""Of a call: its source and its call key."""

_PROVENANCE: Final = ("kafka_topic", "kafka_partition", "kafka_offset")


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known. `searched` says whether Kafka was looked at."""

    books: Books
    callbacks: Sequence[Seen] = ()
    letters: Sequence[Letter] = ()
    searched: bool = False


@dataclass(slots=True)
class _Call:
    key: Key
    receipt: Row | None = None
    deferral: Row | None = None
    conflicts: list[Row] = field(default_factory=list)
    callbacks: list[Seen] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    units: list[Row] = field(default_factory=list)
    corrections: list[Row] = field(default_factory=list)


def stories(evidence: Evidence) -> list[Row]:
    """Return each call as a mapping, in the order in which the first of it is known.

    Its `outcome` is `receipt`, `deferred`, `parked`, `skipped`, `waiting` (the consumer has not
    read it yet), `missing` (it has, and left nothing), or `unknown` where only a usage unit speaks
    of it. `says` holds the sentences for people.
    """
    return [_told(call, evidence) for call in _calls(evidence).values()]


def provenances_of(books: Books) -> set[Provenance]:
    """Return where the records stand from which the rows were written."""
    rows = (*books.receipts, *books.deferrals, *books.conflicts)
    return {_provenance(row) for row in rows}


def keys_of(books: Books) -> set[str]:
    """Return the call keys of the rows."""
    rows = (*books.receipts, *books.deferrals, *books.conflicts)
    return {row["call_key"] for row in rows}


def _provenance(row: Row) -> Provenance:
    topic, partition, offset = (row[name] for name in _PROVENANCE)
    return (topic, partition, offset)


def _calls(evidence: Evidence) -> dict[Key, _Call]:
    books, calls = evidence.books, dict[Key, _Call]()

    def call(source: str, key: str) -> _Call:
        return calls.setdefault((source, key), _Call((source, key)))

    owners = dict[Provenance, _Call]()
    for row in books.receipts:
        charged = call(row["source_system"], row["call_key"])
        charged.receipt = row
        own = row["id"]
        charged.corrections = [one for one in books.corrections if one["charge_receipt_id"] == own]
        owners[_provenance(row)] = charged
    for row in books.deferrals:
        call(row["source_system"], row["call_key"]).deferral = row
        owners.setdefault(_provenance(row), calls[row["source_system"], row["call_key"]])
    for row in books.conflicts:
        call(row["source_system"], row["call_key"]).conflicts.append(row)
        owners.setdefault(_provenance(row), calls[row["source_system"], row["call_key"]])
    for seen in sorted(evidence.callbacks, key=lambda one: one.provenance):
        # A row says whose record it is, also where today's settings would decide otherwise.
        owner = owners.get(seen.provenance) or call(seen.source_system, seen.call_key)
        owner.callbacks.append(seen)
        owners[seen.provenance] = owner
    for letter in evidence.letters:
        known = owners.get(letter.stood) if letter.stood else None
        (known or call(letter.source_system, letter.call_key)).letters.append(letter)
    for unit in books.units:
        _of_unit(calls, unit).units.append(unit)
    return calls


def _of_unit(calls: dict[Key, _Call], unit: Row) -> _Call:
    """Return the call that a usage unit names; where none is known, one that is only its."""
    name = unit["litellm_call_id"] or unit["response_id"] or ""
    for call in calls.values():
        rows = [row for row in (call.receipt, call.deferral) if row]
        ids = {row[column] for row in rows for column in ("litellm_call_id", "response_id")}
        if name and (name in ids or name in call.key[1].split("|")):
            return call
    return calls.setdefault(("", name), _Call(("", name)))


def _told(call: _Call, evidence: Evidence) -> Row:
    fates = [(seen, _fate(call, seen, evidence)) for seen in call.callbacks]
    row = call.receipt or call.deferral or {}
    outcome = _outcome(call, [fate for _, fate in fates])
    duplicates = sum(fate == "duplicate" for _, fate in fates) if evidence.searched else None
    first = call.callbacks[0] if call.callbacks else None
    return {
        "call_key": call.key[1],
        "source": call.key[0],
        "litellm_call_id": row.get("litellm_call_id"),
        "response_id": row.get("response_id"),
        "run": row.get("run_id") or (first.run_id if first else None),
        "attempt": row.get("attempt"),
        "agent": row.get("sub_agent_id"),
        "outcome": outcome,
        "reason": _reason(call, outcome, fates),
        "says": _sentences(call, outcome, fates, duplicates),
        "receipt": call.receipt,
        "deferral": call.deferral,
        "duplicates": duplicates,
        "conflicts": call.conflicts,
        "corrections": call.corrections,
        "usage_units": call.units,
        "callbacks": [_callback(seen, fate) for seen, fate in fates],
        "dead_letters": [_letter(letter) for letter in call.letters],
    }


def _fate(call: _Call, seen: Seen, evidence: Evidence) -> str:
    """Return what became of one callback."""
    wrote = {
        **{_provenance(row): "conflict" for row in call.conflicts},
        **{letter.stood: "parked" for letter in call.letters if letter.stood},
        **({_provenance(call.deferral): "deferred"} if call.deferral else {}),
        **({_provenance(call.receipt): "receipt"} if call.receipt else {}),
    }
    if fate := wrote.get(seen.provenance):
        return fate
    topic, partition, offset = seen.provenance
    if offset >= evidence.books.positions.get((topic, partition), 0):
        return "waiting"
    if seen.outcome in {"skipped", "parked", "unit"}:
        return seen.outcome
    return "duplicate" if call.receipt or call.deferral else "missing"


def _outcome(call: _Call, fates: Sequence[str]) -> str:
    if call.receipt:
        return "receipt"
    if call.deferral:
        return "deferred"
    if call.letters and not fates:
        return "parked"
    order = ("missing", "waiting", "parked", "skipped")
    return next((one for one in order if one in fates), "unknown")


def _reason(call: _Call, outcome: str, fates: Sequence[tuple[Seen, str]]) -> str | None:
    if call.receipt:
        return str(call.receipt["charge_reason"])
    if call.deferral:
        return str(call.deferral["reason"])
    if outcome == "parked" and call.letters:
        return call.letters[-1].reason
    return next((seen.reason for seen, fate in fates if fate == outcome), None)


def _sentences(
    call: _Call, outcome: str, fates: Sequence[tuple[Seen, str]], duplicates: int | None
) -> list[str]:
    said = list[str]()
    misspelt = {name: right for seen, _ in fates for name, right in seen.misspelt.items()}
    if call.receipt:
        said += _of_receipt(call.receipt, known=bool(misspelt))
    said += [correction(row) for row in call.corrections]
    said += [misspelling(name, right) for name, right in misspelt.items()]
    if call.deferral:
        said += _of_deferral(call.deferral, charged=call.receipt is not None)
    if duplicates:
        said.append(f"It came {duplicates} more time{'s' * (duplicates > 1)}: duplicates, which "
                    "changed nothing.")  # fmt: skip
    said += [contradiction(row) for row in call.conflicts]
    said += list(dict.fromkeys(_of_fate(seen, fate) for seen, fate in fates))
    said += [_of_letter(letter) for letter in call.letters]
    if call.units:
        said.append(f"Executors reported it in {len(call.units)} usage unit"
                    f"{'s' * (len(call.units) > 1)}; usage units are never charged.")  # fmt: skip
    if outcome == "unknown" and call.units:
        said.append("No callback of it is known: LiteLLM has not sent one, or not yet.")
    return [one for one in said if one]


def _of_receipt(row: Row, *, known: bool) -> list[str]:
    charged, cost = plain(row["charged_usd"]), plain(row["response_cost_usd"])
    why = SETTLED.get(row["cost_source"]) or CHARGED[ChargeReason(row["charge_reason"])]
    said = (
        f"Charged {charged} USD ({plain(row['charged_credits'])} credits) to account "
        f"{row['billing_account_id']}; the cost before markup is {cost} USD: "
        f"{why}."
    )
    return [said, *remarks(row["marks"], known=known)]


def _of_deferral(row: Row, *, charged: bool) -> list[str]:
    why, what_to_do = DEFERRED[DeferredReason(row["reason"])]
    if row["resolution"]:
        by = f" by {row['resolved_by']}" if row["resolved_by"] else ""
        note = f" ({row['resolution_note']})" if row["resolution_note"] else ""
        result = f", under the key {row['result_key']}" if row["result_key"] else ""
        closed = CLOSED[Resolution(row["resolution"])]
        return [f"It was deferred: {why}. Closed{by}{note}: {closed}{result}."]
    if charged:
        return [f"It was deferred: {why}. Its receipt came later."]
    return [f"No receipt yet: {why}.", f"What to do: {what_to_do}."]


def _of_fate(seen: Seen, fate: str) -> str:
    topic, partition, offset = seen.provenance
    match fate:
        case "skipped":
            return f"Skipped, it costs nothing: {SKIPPED[SkippedReason(seen.reason)]}."
        case "parked":
            return (
                f"It could not be billed, so it went to the dead letters: "
                f"{PARKED[Reason(seen.reason)]}."
                if seen.outcome == "parked"
                else ""
            )
        case "waiting":
            return (
                f"The consumer has not read the callback at {topic}/{partition}/{offset} yet. "
                "Check that it runs, and how far behind it is."
            )
        case "missing":
            return (
                f"The consumer has read past the callback at {topic}/{partition}/{offset}, but the "
                f"ledger has no row of it. `billing replay --from-offset {partition}:{offset}` "
                "shows what it would become; --apply writes it."
            )
    return ""


def _of_letter(letter: Letter) -> str:
    why = PARKED.get(Reason(letter.reason)) if letter.reason in set(Reason) else letter.reason
    return (
        f"There is a dead letter at {letter.at} ({letter.reason}): {why}. Look at it with `billing "
        f"dead-letters show {letter.at}`. When the cause is corrected, send it back with `billing "
        f"dead-letters replay --at {letter.at} --apply`."
    )


def _callback(seen: Seen, fate: str) -> Row:
    return {
        "at": "/".join(map(str, seen.provenance)),
        "received": seen.received,
        "outcome": fate,
        "decided_anew": " ".join(part for part in (seen.outcome, seen.reason) if part),
        "detail": seen.detail or None,
    }


def _letter(letter: Letter) -> Row:
    return {
        "at": letter.at,
        "parked": letter.parked,
        "reason": letter.reason,
        "detail": letter.detail or None,
        "stood_at": "/".join(map(str, letter.stood)) if letter.stood else None,
    }
