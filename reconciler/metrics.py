"""The reconciler's metrics: every name in one place."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

CHECKED: Final = Counter(
    "billing_reconciler_checked_rows_total",
    "Rows of the spend log compared with the books, by verdict; each pass compares those of its "
    "overlap again.",
    ["verdict"],
)
REPOSTED: Final = Counter(
    "billing_reconciler_reposted_total", "Lost calls whose callback the gateway has taken."
)
PARKED: Final = Counter(
    "billing_reconciler_parked_total", "Reposted callbacks that the gateway could not read."
)
CLOSED: Final = Counter(
    "billing_reconciler_closed_findings_total", "Findings that the books have an answer to now."
)
OPEN_FINDINGS: Final = Gauge(
    "billing_reconciler_open_findings", "Rows without an answer in the books.", ["verdict"]
)
OLDEST_FINDING_SECONDS: Final = Gauge(
    "billing_reconciler_oldest_finding_seconds",
    "How long ago the oldest open finding was first seen, seconds.",
    ["verdict"],
)
MISSING: Final = Gauge("billing_reconciler_missing_calls", "Lost calls that have no receipt yet.")
UNMATCHED_UNITS: Final = Gauge(
    "billing_reconciler_unmatched_units",
    "Usage units of the last pass whose call has no receipt, no deferral and no row.",
)
LATENCY_SECONDS: Final = Histogram(
    "external_billing_reconcile_latency_seconds",
    "From the end of a run to the last receipt that the reconciler has brought it, seconds.",
    buckets=(5, 15, 30, 60, 300, 900, 1_800, 3_600, 7_200, 21_600, 86_400, 604_800),
)
FAILURES_IN_A_ROW: Final = Gauge(
    "billing_reconciler_failures_in_a_row", "Passes that have failed since the last good one."
)
FAULTS: Final = Counter(
    "billing_reconciler_faults_total",
    "Questions and POSTs that failed and were tried again, by whom they were for.",
    ["dependency"],
)
ACTIVE: Final = Gauge(
    "billing_reconciler_active", "1 for the instance that compares, 0 for one that stands by."
)
RECONCILED_UNTIL_SECONDS: Final = Gauge(
    "billing_reconciler_reconciled_until_seconds",
    "Up to when the spend log is compared, seconds since 1970.",
)
PASS_SECONDS: Final = Histogram(
    "billing_reconciler_pass_seconds",
    "Time of a pass over the spend log, seconds.",
    buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 900, 3_600),
)
AUDIT_BALANCED: Final = Gauge(
    "billing_reconciler_audit_balanced",
    "Whether the last audit balanced: 1 it did, 0 it did not, -1 there was none yet.",
)
AUDIT_CALLS: Final = Gauge(
    "billing_reconciler_audit_calls", "Calls of the last audit, by what became of them.", ["what"]
)
AUDIT_DIFFERENCE_USD: Final = Gauge(
    "billing_reconciler_audit_difference_usd",
    "LiteLLM's spend less the receipts' cost in the last audit, US dollars.",
)
AUDITED_UNTIL_SECONDS: Final = Gauge(
    "billing_reconciler_audited_until_seconds",
    "The end of the time that was audited last, seconds since 1970.",
)
PRICED_USD: Final = Gauge(
    "billing_reconciler_priced_usd",
    "Cost of the receipts of the day audited last whose model the price table knows, US dollars.",
)
PRICE_DRIFT_USD: Final = Gauge(
    "billing_reconciler_price_drift_usd",
    "By how much these cost more or less than the table allows, added up, US dollars.",
)
UNPRICED_USD: Final = Gauge(
    "billing_reconciler_unpriced_usd",
    "Cost of the receipts of that day whose model the price table does not know, US dollars.",
)
AUDIT_BALANCED.set(-1)
