"""What was found in Kafka of a call, and how it is known to be of that call. Pure.

Skipped and duplicate callbacks leave no row in the ledger: they are told by looking at the records
and deciding them again, with the rules of this release and the settings of this environment.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from charging.decision import Policy, decide
from charging.origin import origin_of
from charging.outcomes import Charge, Decision, Deferred, Parked, Skipped
from charging.spend import spend_of
from schemas import headers as names
from schemas.callback import ContractError
from schemas.headers import header
from schemas.reader import Values, identify, read_callback, read_values
from schemas.record import Provenance, Record


@dataclass(frozen=True, slots=True)
class Seen:
    """A callback on its topic, and what it is decided to be.

    `outcome` is `receipt`, `deferred`, `skipped`, `parked` or `unit`. `misspelt` are names in the
    metadata that should be others.
    """

    provenance: Provenance
    received: datetime | None
    source_system: str
    call_key: str
    run_id: str
    outcome: str
    reason: str
    detail: str = ""
    misspelt: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter. `stood` is where the callback was, None where the gateway parked it."""

    at: str
    parked: datetime | None
    source_system: str
    call_key: str
    reason: str
    detail: str
    stood: Provenance | None


class Sought:
    """Tells whether a record is of the call that is asked for.

    Args:
        name: what was asked for: an id, a call key or a run.
        keys: call keys that the ledger knows it by.
        provenances: where records of it stood.
    """

    def __init__(self, name: str, keys: Iterable[str], provenances: Iterable[Provenance]) -> None:
        self._names = frozenset({name, *keys})
        self._asked = name
        self.provenances = frozenset(provenances)
        parts = {part for one in self._names for part in (one, *one.split("|")) if part}
        self._needles = tuple({form for part in parts for form in _forms(part)})

    def fits(self, record: Record) -> bool:
        """Say whether the record is the call's, by where it stands, its headers or its fields."""
        if record.provenance in self.provenances:
            return True
        if header(record.headers, names.CALL_KEY) in self._names:
            return True
        value = record.value or b""
        # Reading every value would take minutes; its text tells which can be it.
        return any(needle in value for needle in self._needles) and self._says(value)

    def _says(self, value: bytes) -> bool:
        try:
            values: Values = read_values(value)[0]
        except ContractError:
            return False
        if self._asked in (str(values.get("id")), str(values.get("litellm_call_id"))):
            return True
        try:
            identity = identify(value)
        except ContractError:
            return False
        return bool(self._names & {identity.call_key, identity.run_id})


def _forms(part: str) -> set[bytes]:
    written = (part, json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1])
    return {form.encode("utf-8", "replace") for form in written}


def seen_of(record: Record, policy: Policy) -> Seen:
    """Return what the callback turns into, decided anew."""
    decision = decide(record, policy)
    outcome, reason, detail = _decided(decision)
    key, run = _named(record, decision)
    return Seen(
        record.provenance,
        moment(record.timestamp_ms),
        origin_of(record).source_system,
        key,
        run,
        outcome,
        reason,
        detail,
        _misspelt(record),
    )


def _misspelt(record: Record) -> Mapping[str, str]:
    try:
        metadata = read_callback(record.value or b"").callback.metadata
    except ContractError:
        return {}
    return spend_of(metadata).misspelt if metadata else {}


def letter_of(record: Record) -> Letter:
    """Return what a dead letter says of itself."""
    key, _ = _named(record, None)
    return Letter(
        f"{record.partition}:{record.offset}",
        moment(record.timestamp_ms),
        origin_of(record).source_system,
        key,
        header(record.headers, names.REASON) or "unknown",
        header(record.headers, names.REASON_DETAIL) or "",
        stood(record),
    )


def stood(record: Record) -> Provenance | None:
    """Return where a dead letter's callback stood; None where it says no such place."""
    topic = header(record.headers, names.ORIGINAL_TOPIC)
    partition = header(record.headers, names.ORIGINAL_PARTITION)
    offset = header(record.headers, names.ORIGINAL_OFFSET)
    if topic is None or partition is None or offset is None:
        return None
    if not (partition.isdecimal() and offset.isdecimal()):
        return None
    return (topic, int(partition), int(offset))


def _decided(decision: Decision) -> tuple[str, str, str]:
    match decision:
        case Charge(receipt):
            return "receipt", receipt.charge_reason.value, ""
        case Deferred(reason):
            return "deferred", reason.value, ""
        case Skipped(reason):
            return "skipped", reason.value, ""
        case Parked(reason, detail):
            return "parked", reason.value, detail
    return "unit", "", ""


def _named(record: Record, decision: Decision | None) -> tuple[str, str]:
    """Return call key and run: the decision's, the value's, else those of the record."""
    run = (record.key or b"").decode("utf-8", "replace")
    match decision:
        case Charge(receipt):
            return receipt.call_key, receipt.run_id
        case Deferred():
            return decision.call_key, decision.run_id
    try:
        identity = identify(record.value or b"")
    except ContractError:
        return header(record.headers, names.CALL_KEY) or f"{record.partition}:{record.offset}", run
    return identity.call_key, identity.run_id


def moment(milliseconds: int) -> datetime | None:
    """Return Kafka's time of a record; None where it is no time that a date can hold."""
    try:
        return datetime.fromtimestamp(milliseconds / 1_000, UTC)
    except (OverflowError, ValueError, OSError):
        return None
