"""Metrics of what every process does: talk to Kafka and to PostgreSQL.

Their names begin with the consumer's, as they did before there was another process.
"""

import math
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry, Counter
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

RETRIES: Final = Counter(
    "billing_consumer_retries_total",
    "Batches tried again because a dependency failed.",
    ["dependency"],
)
HEADERS_UNREADABLE: Final = Counter(
    "billing_consumer_unreadable_headers_total",
    "Records with a header whose name is no UTF-8, each time that one was read.",
)
KAFKA_ERRORS: Final = Counter(
    "billing_consumer_kafka_errors_total", "Errors reported by the Kafka client.", ["code"]
)


class BoundedLabel:
    """A label whose values come from strangers: the first `limit` keep their name, then `other`."""

    def __init__(self, limit: int = 200) -> None:
        self._limit = limit
        self._seen: set[str] = set()

    def __call__(self, value: str | None) -> str:
        """Return the label for `value`; nothing and empty text are `unknown`."""
        name = (value or "unknown")[:128]
        if name in self._seen:
            return name
        if len(self._seen) >= self._limit:
            return "other"
        self._seen.add(name)
        return name


class BulkHistogram(Collector):
    """A histogram without labels that takes many values at once; it is told as any other.

    The library's takes one at a time, and for one of each receipt that is too long. For any thread.

    Args:
        name: of the metric.
        documentation: what it says.
        buckets: upper bounds, in order, without infinity.
        registry: where it is told.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        buckets: Sequence[float],
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = (*buckets, math.inf)
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0
        self._created = time.time()
        self._exemplars: list[Exemplar | None] = [None] * len(self._bounds)
        self._lock = threading.Lock()
        registry.register(self)

    def observe(self, values: Sequence[float]) -> None:
        """Count values."""
        with self._lock:
            for value in values:
                self._counts[bisect_left(self._bounds, value)] += 1
            self._sum += sum(values)

    def exemplify(self, value: float, labels: Mapping[str, str]) -> None:
        """Name an example of a value that is counted, told where OpenMetrics is asked for."""
        with self._lock:
            place = bisect_left(self._bounds, value)
            self._exemplars[place] = Exemplar(dict(labels), value, time.time())

    def describe(self) -> Iterator[Metric]:
        """Yield the metric without what it counts."""
        yield HistogramMetricFamily(self._name, self._documentation)

    def collect(self) -> Iterator[Metric]:
        """Yield the metric: how many values were at most as large as each bound, and their sum."""
        with self._lock:
            counts, total = list(accumulate(self._counts)), self._sum
            exemplars = list(self._exemplars)
        names = [*(str(float(bound)) for bound in self._bounds[:-1]), "+Inf"]
        buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = [
            (name, float(count)) if one is None else (name, float(count), one)
            for name, count, one in zip(names, counts, exemplars, strict=True)
        ]
        told = HistogramMetricFamily(self._name, self._documentation)
        told.add_metric([], buckets, total)
        told.add_sample(f"{self._name}_created", {}, self._created)
        yield told


class FormerNames(Collector):
    """Tells metrics under the names that they had before, beside their own, for one release.

    Args:
        metrics: those that have another name now, by the one that they had; of a counter both names
            are without `_total`.
    """

    def __init__(self, metrics: Mapping[str, MetricWrapperBase]) -> None:
        self._metrics = dict(metrics)

    def describe(self) -> Iterator[Metric]:
        """Yield the metrics without what they count."""
        for former, metric in self._metrics.items():
            for now in metric.describe():
                yield Metric(former, f"The former name of {now.name}.", now.type)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now, under their former names."""
        for told, metric in zip(self.describe(), self._metrics.values(), strict=True):
            for now in metric.collect():
                for sample in now.samples:
                    name = told.name + sample.name.removeprefix(now.name)
                    told.add_sample(name, sample.labels, sample.value, sample.timestamp)
            yield told
