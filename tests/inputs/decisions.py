"""What becomes of made-up callbacks: `python -m tests.inputs.decisions SEED COUNT`, a line each.

Two builds of the same code that print the same have decided the same, to the byte. A third number
has that record printed, and all that becomes of it.
"""

import hashlib
import sys

from charging import charge, decision
from charging.decision import decide
from charging.outcomes import Charge
from charging.signature import SignatureRules
from ledger.rows import receipt_row
from ledger.seals import digest_of
from schemas.callback import ContractError
from schemas.reader import identify, identify_fast
from schemas.receipt import to_kafka
from schemas.record import Record
from tests.inputs.callbacks import policy
from tests.inputs.mutations import mutations

KEYS = SignatureRules({"2026-11": b"n" * 40})
POLICIES = (
    policy(),
    policy(markup="1.337", free=(), account_from=("user_api_key_team_id", "end_user")),
    policy(signatures=KEYS),
    policy(signatures=SignatureRules(KEYS.secrets, required=True)),
)


def told(record: Record, number: int) -> str:
    """Return everything that becomes of a record, as text."""
    value = record.value or b""
    try:
        named: object = identify(value)
    except ContractError as error:
        named = repr(error)
    fast = identify_fast([value]) if value.isascii() else None
    try:
        decided = decide(record, POLICIES[number % len(POLICIES)])
    except Exception as error:  # noqa: BLE001 - which error it is, is what becomes of it
        return repr((named, fast, error))
    if not isinstance(decided, Charge):
        return repr((named, fast, decided))
    row = receipt_row(record, decided, None)
    return repr((named, fast, decided, to_kafka(decided.receipt), row, digest_of("receipts", row)))


def main(seed: int, count: int, shown: int | None) -> None:
    """Print which build this is, and a digest for each record; or all of one record."""
    print(decision.__file__, charge.__file__)
    records = mutations(seed, count)
    for number, record in enumerate(records):
        text = told(record, number)
        if number == shown:
            print(f"{record}\n{text}")
        elif shown is None:
            told_apart = text.encode("utf-8", "surrogatepass")
            print(hashlib.blake2b(told_apart, digest_size=8).hexdigest())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
