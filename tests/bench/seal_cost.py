"""Receipts that are sealed, against receipts alone."""

from typing import Final

from ledger.sealed_rows import verification
from ledger.verification import Verified
from tests.bench.figures import Comparison, Target
from tests.bench.paired_drains import compared, paired
from tests.bench.payloads import REDACTED, Payloads
from tests.bench.services import Services
from tests.bench.sizes import Size

_LEAST: Final = 0.97


def measure(services: Services, size: Size) -> list[Comparison]:
    """Receipts a second that are written and sealed."""
    payloads = Payloads("seals", REDACTED)
    drains = paired(services, size, payloads, "CONSUMER_SEALS=false", _check_seals)
    names = "with seals", "receipts alone"
    return compared("consumer, seals, 4 kB", names, drains, Target(_LEAST))


def _check_seals(url: str) -> None:
    counted = Verified()
    with verification(url, {}, counted) as problems:
        if wrong := next(problems, None):
            raise AssertionError(f"a receipt is not as it was written: {wrong}")
    if counted.unsealed not in (0, counted.receipts):
        raise AssertionError(f"{counted.unsealed} of {counted.receipts} receipts have no seal")
