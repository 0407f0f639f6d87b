"""All calls of one run, hence one partition, against the same calls of a thousand runs."""

from tests.bench.draining import check_ledger, drain, fill
from tests.bench.figures import Comparison, Figures
from tests.bench.payloads import RUNS, Payloads
from tests.bench.services import Services
from tests.bench.sizes import Size


def measure(services: Services, size: Size) -> list[Comparison]:
    """Callbacks a second through one consumer."""
    rates: dict[int, list[float]] = {1: [], RUNS: []}
    with services.topics() as hot, services.topics() as spread:
        prefixes = {1: hot, RUNS: spread}
        for runs, prefix in prefixes.items():
            fill(services, prefix, Payloads("hot", runs=runs), size.callbacks)
        for _ in range(size.rounds):
            for runs, prefix in prefixes.items():
                with services.database() as url:
                    rates[runs].append(drain(services, prefix, url, size.callbacks).rate)
                    check_ledger(url, size.callbacks)
    return [
        Comparison(
            "consumer, one hot run, 14 kB",
            "callbacks/s",
            Figures("one run, one partition", tuple(rates[1])),
            Figures(f"{RUNS:,} runs, all partitions", tuple(rates[RUNS])),
        )
    ]
