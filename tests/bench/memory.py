"""The consumer's memory while it drains a full topic."""

from tests.bench.draining import check_ledger, cpu_rows, drain, fill
from tests.bench.figures import Comparison, Figures, Target, quarter_peaks
from tests.bench.payloads import Payloads
from tests.bench.services import Services
from tests.bench.sizes import Size


def measure(services: Services, size: Size) -> list[Comparison]:
    """Resident memory, MiB, looked at with every look at the progress."""
    count = size.memory_callbacks
    with services.topics() as prefix, services.database() as url:
        fill(services, prefix, Payloads("memory"), count)
        drained = drain(services, prefix, url, count)
        check_ledger(url, count)
    peaks = quarter_peaks(drained.resident_mib)
    what = f"consumer draining {count:,} of 14 kB"
    return [
        Comparison(
            f"{what}: memory",
            "MiB",
            Figures("peak of the last quarter", (peaks[3],)),
            Figures("peak of the second quarter", (peaks[1],)),
            Target(1.1, at_least=False),
        ),
        Comparison(
            f"{what}: memory",
            "MiB",
            Figures("peak", (max(peaks),)),
            target=Target(260, at_least=False, of_ratio=False),
        ),
        Comparison(f"{what}: rate", "callbacks/s", Figures("new", (drained.rate,))),
        *cpu_rows(what, [drained]),
    ]
