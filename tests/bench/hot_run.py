"""All calls of one run, hence one partition, against the same calls of a thousand runs."""

from tests.bench.draining import Drained, check_ledger, drain, fill
from tests.bench.figures import Comparison, Figures
from tests.bench.payloads import RUNS, Payloads
from tests.bench.services import Services
from tests.bench.sizes import Size


def measure(services: Services, size: Size) -> list[Comparison]:
    """Callbacks a second through one consumer."""
    drains: dict[int, list[Drained]] = {1: [], RUNS: []}
    with services.topics() as hot, services.topics() as spread:
        prefixes = {1: hot, RUNS: spread}
        for runs, prefix in prefixes.items():
            fill(services, prefix, Payloads("hot", runs=runs), size.callbacks)
        for _ in range(size.rounds):
            for runs, prefix in prefixes.items():
                with services.database() as url:
                    drains[runs].append(drain(services, prefix, url, size.callbacks))
                    check_ledger(url, size.callbacks)
    one, all_ = "one run, one partition", f"{RUNS:,} runs, all partitions"
    what = "consumer, one hot run, 14 kB"
    return [
        Comparison(
            what,
            "callbacks/s",
            Figures(one, tuple(each.rate for each in drains[1])),
            Figures(all_, tuple(each.rate for each in drains[RUNS])),
        ),
        Comparison(
            f"{what}: consumer, PostgreSQL, broker",
            "CPU µs/callback",
            Figures(one, tuple(each.cpu.whole for each in drains[1])),
            Figures(all_, tuple(each.cpu.whole for each in drains[RUNS])),
        ),
    ]
