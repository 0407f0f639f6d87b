"""The consumer's metrics: every name in one place.

NOTHING_VANISHES: the sum over `billing_consumer_records_total` by outcome is the number of records
whose fate is committed.
"""

from typing import Final

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

from runtime.metrics import BulkHistogram, FormerNames
from schemas.credits import CreditEventType

RECORDS: Final = Counter(
    "billing_consumer_records_total",
    "Records by what became of them; outcomes are created, duplicate, conflict, deferred, skipped, "
    "parked.",
    ["outcome", "reason"],
)
USAGE_UNITS: Final = Counter(
    "billing_consumer_usage_units_total", "Usage units by whether they were new.", ["outcome"]
)
MISSING_COST: Final = Counter(
    "billing_missing_cost_total",
    "Calls deferred because LiteLLM sent no cost.",
    ["model_group", "provider"],
)
DEFERRED_PAID: Final = Counter(
    "billing_deferred_paid_model_calls_total",
    "Calls of models not declared free, deferred because their cost is zero or missing.",
    ["model_group", "provider"],
)
UNUSABLE_COST: Final = Counter(
    "billing_consumer_unusable_cost_total",
    "Calls deferred because their cost is unusable: negative, infinite, a text, out of range.",
    ["model_group", "provider"],
)
CHARGED_CREDITS: Final = Counter(
    "billing_consumer_charged_credits_total", "Credits on new receipts.", ["charge_reason"]
)
UNATTRIBUTED: Final = Counter(
    "billing_consumer_unattributed_receipts_total",
    "New receipts that name no account or no run.",
    ["missing"],
)
SIGNATURES: Final = Counter(
    "billing_consumer_attribution_signatures_total",
    "New receipts of calls whose attribution has a signature, by what it is worth; verdicts are "
    "signed, forged, unknown_key.",
    ["verdict"],
)
POSSIBLE_DOUBLE: Final = Counter(
    "billing_consumer_possible_double_total",
    "New receipts marked possible_double: a second success of one request with the same cost, "
    "tokens and start time.",
)
DEFERRED_OPEN: Final = Gauge(
    "billing_consumer_deferred_open",
    "Open deferrals that need a person or a later cost, and those that a charge has reopened; "
    "without those that wait for another callback of their background response.",
)
DEFERRED_OLDEST_SECONDS: Final = Gauge(
    "billing_consumer_deferred_oldest_seconds",
    "Age of the oldest open deferral, seconds; of a reopened one since it was.",
)
WAITING_RESPONSES: Final = Gauge(
    "billing_consumer_waiting_responses",
    "Callbacks of background responses that wait for another: a create for its result, a read for "
    "its create.",
)
WAITING_OLDEST_SECONDS: Final = Gauge(
    "billing_consumer_waiting_responses_oldest_seconds",
    "Age of the oldest callback of a background response that waits for another, seconds.",
)
AMBIGUOUS_READS: Final = Counter(
    "billing_consumer_ambiguous_reads_total",
    "Reads with a cost, of which nothing tells what they read: deferred, by model group and "
    "provider.",
    ["model_group", "provider"],
)
RECEIPT_DELAY_SECONDS: Final = BulkHistogram(
    "billing_consumer_receipt_delay_seconds",
    "From the end of the call to its committed receipt, seconds.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400),
)
BATCH_SECONDS: Final = Histogram(
    "billing_consumer_batch_seconds",
    "Time to write and publish a batch, by step, seconds.",
    ["step"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)
BATCH_RECORDS: Final = Histogram(
    "billing_consumer_batch_records",
    "Records in a batch.",
    buckets=(1, 10, 50, 100, 250, 500, 1000, 2500, 5000, 10000),
)
LAG: Final = Gauge(
    "billing_consumer_lag_records",
    "Records between the position and the end of the partition.",
    ["topic", "partition"],
)
OLDEST_SECONDS: Final = Gauge(
    "billing_consumer_oldest_uncommitted_seconds",
    "Age of the oldest record of a partition that the group has not committed, seconds; "
    "0 where none waits. Each member tells it of all partitions, whoever owns them.",
    ["topic", "partition"],
)
UNOWNED: Final = Gauge(
    "billing_consumer_unowned_partitions",
    "Partitions that no member of the group reads, as seen by each member.",
    ["topic"],
)
OPEN_TRANSACTION_SECONDS: Final = Gauge(
    "billing_consumer_oldest_open_transaction_seconds",
    "How long read_committed readers of a partition that members write to have stood before the "
    "same open transaction, seconds; 0 where there is none. Each member tells it.",
    ["topic", "partition"],
)
LOOKED_AT: Final = Gauge(
    "billing_consumer_backlog_look_timestamp_seconds",
    "When this member last looked at the whole group, seconds since the epoch.",
)
HIDDEN_LOOKED_AT: Final = Gauge(
    "billing_consumer_hidden_look_timestamp_seconds",
    "When this member last looked for open transactions in all partitions of a topic that members "
    "write to, seconds since the epoch; 0 where it never could.",
    ["topic"],
)
MISSING: Final = Gauge(
    "billing_consumer_missing", "1 while work waits for the dependency.", ["dependency"]
)
COMMITTED_OFFSET: Final = Gauge(
    "billing_consumer_committed_offset",
    "Offset after the last record that this member has committed and counted.",
    ["topic", "partition"],
)
ASSIGNED: Final = Gauge("billing_consumer_assigned_partitions", "Partitions this member holds.")
DISCARDED: Final = Counter(
    "billing_consumer_discarded_batches_total",
    "Batches given up and read again, here or by a new owner: their partitions moved, or their "
    "transaction failed.",
)
OFFSET_RESETS: Final = Counter(
    "billing_consumer_offset_resets_total",
    "Partitions for which Kafka had no valid offset of the group, by where reading went on: "
    "committed, first_time, remembered and set_back (an older one, by a person) do no harm; "
    "expired, other_topic, truncated and went_back (an older one, by Kafka) need a look.",
    ["reset"],
)
LIMIT_REACHED: Final = Counter(
    "billing_consumer_dead_letter_limit_total",
    "How often the dead-letter limit was reached by bad records, while this release reads and "
    "stores its sample.",
    ["what"],
)
EXPIRED: Final = Counter(
    "billing_consumer_expired_records_total",
    "Records that Kafka deleted before they were read, each once: calls that have no outcome. "
    "expired where the group had read before, never_read where it had read nothing yet.",
    ["reason"],
)
BEHIND: Final = Counter(
    "billing_ledger_behind_records_total",
    "Records that the group had committed and the ledger lacked, by cause: behind, unknown "
    "(a new or a wrong ledger), other_topic, former_release (only what really was missing).",
    ["cause"],
)
REWRITTEN: Final = Counter(
    "billing_ledger_rewritten_records_total",
    "Records written again because the ledger lacked them, by outcome; their events are not "
    "published again.",
    ["outcome"],
)
LEDGER_LOST: Final = Counter(
    "billing_ledger_lost_records_total",
    "Records that the ledger did not know any more and Kafka has no longer: not to be written "
    "again.",
)
CREDIT_EVENTS: Final = Counter(
    "billing_consumer_credit_events_total",
    "Events of accounts, corrections, checkpoints and runs that this member has published, by "
    "type.",
    ["type"],
)
CREDIT_EVENTS_WAITING: Final = Gauge(
    "billing_consumer_credit_events_waiting",
    "Events of accounts, corrections, checkpoints and runs that nobody has published yet, as seen "
    "by each member.",
)
CREDIT_EVENTS_OLDEST_SECONDS: Final = Gauge(
    "billing_consumer_credit_events_oldest_seconds", "Age of the oldest of them, seconds."
)
CREDIT_EVENT_FAULTS: Final = Counter(
    "billing_consumer_credit_event_faults_total",
    "Failed tries to publish events of accounts, corrections, checkpoints and runs; they wait, and "
    "are published later.",
)
CHECKPOINTS: Final = Counter(
    "billing_consumer_checkpoints_total",
    "Checkpoints over what was written that this member has made.",
)
RUN_TOLD_SECONDS: Final = Histogram(
    "billing_consumer_run_told_seconds",
    "From the end of a run, as its executor says it, to the first event of its cost, seconds.",
    buckets=(5, 10, 20, 25, 30, 40, 50, 60, 90, 120, 300, 1800, 7200),
)
for _type in (*CreditEventType, "corrected", "checkpoint", "run_settled"):
    CREDIT_EVENTS.labels(_type)
for _reason in ("expired", "never_read"):
    EXPIRED.labels(_reason)
for _cause in ("behind", "unknown", "other_topic", "former_release"):
    BEHIND.labels(_cause)
REGISTRY.register(
    FormerNames({
        "billing_consumer_oldest_unsettled_seconds": OLDEST_SECONDS,
        "billing_consumer_settled_offset": COMMITTED_OFFSET,
    })
)  # fmt: skip
