"""The tables that pairing reads and writes, in memory: what the merge makes of its decisions."""

from collections.abc import Sequence

from msgspec.structs import replace

from charging.outcomes import Charge, Decided, Deferred, Skipped
from charging.pairing import Pairing, Row
from schemas.receipt import Receipt
from schemas.record import Provenance
from tests.inputs.callbacks import decided

SOURCE = "litellm"


class Book:
    """Receipts and deferrals of one link. `outcomes` says what became of each record, in order."""

    def __init__(self) -> None:
        self.receipts = dict[str, Receipt]()
        self.provenances: dict[str, Provenance] = {}
        self.rows: dict[str, Row] = {}
        self.outcomes: list[str] = []

    def post(self, *events: bytes) -> list[str]:
        """Write events as one batch, each as a record of its own; what became of them."""
        return self.write([decided(raw) for raw in events])

    def write(self, batch: Sequence[Decided]) -> list[str]:
        """Write a batch; what became of its records."""
        known = {(SOURCE, key): provenance for key, provenance in self.provenances.items()}
        pairing = Pairing(SOURCE, list(self.rows.values()), known)
        judged = [
            pairing.judge(ordinal, each.record.provenance, each.decision)
            for ordinal, each in enumerate(batch)
        ]
        became: dict[int, str] = {}
        for ordinal, decision in enumerate(judged):
            if isinstance(decision, Charge):
                became[ordinal] = self._charge(decision, batch[ordinal].record.provenance)
        for ordinal, decision in enumerate(judged):
            if isinstance(decision, Deferred):
                became[ordinal] = self._defer(decision, batch[ordinal].record.provenance)
            elif isinstance(decision, Skipped):
                became[ordinal] = "skipped"
        for ordinal, birth in pairing.births.items():
            self._defer(birth, batch[ordinal].record.provenance)
        for _, key, resolution, result_key in pairing.closings:
            row = self.rows[key]
            self.rows[key] = replace(
                row,
                resolution=row.resolution or resolution,
                result_key=row.result_key or result_key,
            )
        found = [became[ordinal] for ordinal in range(len(batch))]
        self.outcomes += found
        return found

    def _charge(self, charge: Charge, provenance: Provenance) -> str:
        key = charge.receipt.call_key
        if key in self.receipts:
            return "replayed" if self.provenances[key] == provenance else "duplicate"
        self.receipts[key], self.provenances[key] = charge.receipt, provenance
        if key in self.rows and self.rows[key].resolution is None:
            self.rows[key] = replace(self.rows[key], resolution="callback")
        return "created"

    def _defer(self, deferred: Deferred, provenance: Provenance) -> str:
        key = deferred.call_key
        if key in self.rows:
            return "duplicate"
        resolution = "callback" if key in self.receipts else None
        self.rows[key] = Row(key, deferred.reason, provenance, deferred.held, resolution)
        return deferred.reason

    def open(self) -> list[str]:
        """The reasons of what is open, in order."""
        return [row.reason for row in self.rows.values() if row.resolution is None]

    def state(self) -> tuple[object, ...]:
        """Everything in it, to be compared."""
        return (self.receipts, self.provenances, self.rows)
