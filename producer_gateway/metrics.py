"""The gateway's metrics: every name in one place."""

from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from producer_gateway.damage import DamagedFiles
from producer_gateway.spool import Spool
from schemas.headers import ContentDropped, Reason

_LATENCY_BUCKETS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0),
)

ANSWERS: Final = (
    *(("callbacks", status) for status in ("202", "400", "401", "405", "408", "413", "415", "503")),
    *(
        ("usage_units", status)
        for status in ("202", "400", "401", "405", "408", "413", "415", "422", "503")
    ),
    *(("unknown", "404"), *(("unreadable", status) for status in ("400", "408", "429", "431"))),
)
PORTS: Final = ("callbacks", "probes")
CLOSED: Final = ("silent", "idle", "rest", "unread", "closing", "no_room")
AUTH_FAILURES: Final = ("missing", "malformed", "wrong")
PARKED: Final = tuple(reason for reason in Reason if reason is not Reason.UNSTORABLE)
NOT_STORED: Final = (
    *("broker_unreachable", "topics_missing", "queue_full", "produce_failed", "no_producer"),
    *("delivery_failed", "refused", "timeout", "abandoned", "inflight", "source_share"),
    *("spool_full", "spool_failed"),
)


class Metrics:
    """The metrics of one gateway, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._declare_connections(self.registry)
        self._declare_requests(self.registry)
        self._declare_callbacks(self.registry)
        self._declare_sources(self.registry)
        self._declare_store(self.registry)
        self._declare_spool(self.registry)
        self._begin_at_zero()

    def _declare_connections(self, registry: CollectorRegistry) -> None:
        self.open_connections = Gauge(
            "billing_gateway_open_connections",
            "Connections that are open, by port: callbacks or probes.",
            ("port",),
            registry=registry,
        )
        self.max_connections = Gauge(
            "billing_gateway_max_connections",
            "Most open connections; beyond it the oldest idle one is closed for a new one.",
            ("port",),
            registry=registry,
        )
        self.closed_connections = Counter(
            "billing_gateway_closed_connections_total",
            "Connections closed without an answer, by what they waited for: silent, idle, rest (of "
            "a refused body), unread (an answer), closing; no_room: closed to take a new one.",
            ("port", "reason"),
            registry=registry,
        )
        self.descriptors_exhausted = Counter(
            "billing_gateway_descriptors_exhausted_total",
            "Times that no descriptor was left for a connection, by port.",
            ("port",),
            registry=registry,
        )
        self.token_reloads = Counter(
            "billing_gateway_token_reloads_total",
            "Times that the tokens were read again on SIGHUP: read, or refused and the old kept.",
            ("outcome",),
            registry=registry,
        )

    def _declare_requests(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "billing_gateway_requests_total",
            "Answered requests; every 4xx is lost usage. Route `unknown`: no such path, "
            "`unreadable`: no HTTP/1.1, `probes`: came to the port of the probes and is none.",
            ("route", "status"),
            registry=registry,
        )
        self.refused = Counter(
            "billing_gateway_refused_requests_total",
            "Answers other than 2xx, by source of the token; `unknown` without a valid token.",
            ("source", "status", "reason"),
            registry=registry,
        )
        self.request_seconds = Histogram(
            "billing_gateway_request_seconds",
            "Seconds from a request's headers to its answer; senders lose events while they wait.",
            registry=registry,
            buckets=_LATENCY_BUCKETS,
        )
        self.received_bytes = Counter(
            "billing_gateway_received_bytes_total",
            "Bytes of bodies that were read to their end.",
            registry=registry,
        )
        self.inflight_bytes = Gauge(
            "billing_gateway_inflight_bytes",
            "Bytes of request bodies that are not answered yet.",
            registry=registry,
        )
        self.auth_failures = Counter(
            "billing_gateway_auth_failures_total",
            "Requests answered 401, by reason: missing, malformed or wrong.",
            ("reason",),
            registry=registry,
        )
        self.abandoned = Counter(
            "billing_gateway_abandoned_requests_total",
            "Requests whose sender left, or took too long, before the body was complete.",
            registry=registry,
        )

    def _declare_callbacks(self, registry: CollectorRegistry) -> None:
        self.callbacks = Counter(
            "billing_gateway_elements_total",
            "Callbacks of 202 answers: accepted, parked or null.",
            ("outcome",),
            registry=registry,
        )
        self.parked = Counter(
            "billing_gateway_parked_total",
            "Callbacks and regions that went to the dead-letter topic, by reason.",
            ("reason",),
            registry=registry,
        )
        self.lenient_callbacks = Counter(
            "billing_gateway_lenient_elements_total",
            "Accepted callbacks that strict JSON refuses.",
            registry=registry,
        )
        self.content_dropped = Counter(
            "billing_gateway_content_dropped_total",
            "Accepted callbacks that lost fields, by reason: policy, oversize or minimal.",
            ("reason",),
            registry=registry,
        )
        self.usage_units = Counter(
            "billing_gateway_usage_units_total", "Usage units taken.", registry=registry
        )

    def _declare_sources(self, registry: CollectorRegistry) -> None:
        self.last_callback = Gauge(
            "billing_gateway_source_last_callback_timestamp_seconds",
            "When a source's callbacks were last answered 202, in seconds since 1970; no series "
            "before the first.",
            ("source",),
            registry=registry,
        )
        self.silence_limit = Gauge(
            "billing_gateway_source_silence_limit_seconds",
            "Seconds for which a source may be silent; no series for a source without a limit.",
            ("source",),
            registry=registry,
        )

    def _declare_store(self, registry: CollectorRegistry) -> None:
        self.store_seconds = Histogram(
            "billing_gateway_store_seconds",
            "Seconds from handing a request's records to the store to all of them being durable.",
            registry=registry,
            buckets=_LATENCY_BUCKETS,
        )
        self.not_stored = Counter(
            "billing_gateway_not_stored_total",
            "Requests answered 503, by reason.",
            ("reason",),
            registry=registry,
        )
        self.producer_fatal = Counter(
            "billing_gateway_producer_fatal_total",
            "Fatal errors of the Kafka producer; after each it is replaced by a new one.",
            registry=registry,
        )
        self.broker_up = Gauge(
            "billing_gateway_broker_up",
            "1 when the broker answered the latest check and all topics are there.",
            registry=registry,
        )

    def _declare_spool(self, registry: CollectorRegistry) -> None:
        self.spooled = Counter(
            "billing_gateway_spooled_total",
            "Records that were answered 202 from the spool.",
            registry=registry,
        )
        self.drained = Counter(
            "billing_gateway_drained_total",
            "Records that left the spool for Kafka.",
            registry=registry,
        )
        self.drain_failures = Counter(
            "billing_gateway_drain_failures_total",
            "Attempts to drain that failed at Kafka or the disk; each is repeated after a pause.",
            registry=registry,
        )
        self.spool_refused = Counter(
            "billing_gateway_spool_refused_total",
            "Spooled records that Kafka refuses for themselves; set aside in the spool.",
            registry=registry,
        )
        self.spool_damaged_records = Counter(
            "billing_gateway_spool_damaged_records_total",
            "Spooled records that differ from what was written; set aside in a file, never sent.",
            registry=registry,
        )
        self.spool_missing_records = Counter(
            "billing_gateway_spool_missing_records_total",
            "Records that should have waited in the spool and are not there.",
            registry=registry,
        )
        self.spool_damaged_files = Gauge(
            "billing_gateway_spool_damaged_files",
            "Damaged files of the spool that were set aside and not salvaged yet.",
            registry=registry,
        )
        self.adopted = Counter(
            "billing_gateway_spool_adopted_total",
            "Records salvaged from a damaged file and taken into the spool.",
            registry=registry,
        )
        self.spool_records = Gauge(
            "billing_gateway_spool_records",
            "Records that wait in the spool for Kafka.",
            registry=registry,
        )
        self.spool_bytes = Gauge(
            "billing_gateway_spool_bytes",
            "Bytes of records in the spool, including those set aside.",
            registry=registry,
        )
        self.spool_max_bytes = Gauge(
            "billing_gateway_spool_max_bytes",
            "Most bytes of records in the spool; 0 without a spool.",
            registry=registry,
        )
        self.spool_oldest_seconds = Gauge(
            "billing_gateway_spool_oldest_seconds",
            "Seconds for which the oldest record has waited in the spool; 0 when it is empty.",
            registry=registry,
        )

    def _begin_at_zero(self) -> None:
        """Show each label that is known, so that an alert on its first increase can see it."""
        for route, status in ANSWERS:
            self.requests.labels(route, status)
        for outcome in ("accepted", "parked", "null"):
            self.callbacks.labels(outcome)
        for reason in PARKED:
            self.parked.labels(reason.value)
        for dropped in ContentDropped:
            self.content_dropped.labels(dropped.value)
        for port in PORTS:
            self.descriptors_exhausted.labels(port)
            for ended in CLOSED:
                self.closed_connections.labels(port, ended)
        for outcome in ("read", "refused"):
            self.token_reloads.labels(outcome)
        for failure in AUTH_FAILURES:
            self.auth_failures.labels(failure)
        for cause in NOT_STORED:
            self.not_stored.labels(cause)

    def watch(self, spool: Spool) -> None:
        """Show the state of `spool`."""
        self.spool_records.set_function(lambda: spool.records)
        self.spool_bytes.set_function(lambda: spool.bytes)
        self.spool_max_bytes.set(spool.max_bytes)
        self.spool_oldest_seconds.set_function(spool.age_s)
        self.spool_damaged_files.set_function(DamagedFiles(spool.path).count)
        spool.on_damaged = self.spool_damaged_records.inc
        spool.on_missing = self.spool_missing_records.inc
