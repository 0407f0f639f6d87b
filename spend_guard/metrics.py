"""The spend guard's metrics: every name in one place."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

HOLDS: Final = Counter(
    "billing_guard_holds_total",
    "Asks for a hold, by answer: held, known (asked before), free (nothing to hold), refused, "
    "unknown (account), away (PostgreSQL), busy (too many asks wait), locked (another transaction "
    "has the account).",
    ["answer"],
)
RELEASED: Final = Counter(
    "billing_guard_releases_total", "Releases asked for, by the state of the hold then.", ["state"]
)
OPEN: Final = Gauge("billing_guard_holds_open", "Holds that are held.")
OLDEST_SECONDS: Final = Gauge(
    "billing_guard_oldest_hold_seconds", "How long ago the oldest of them was placed, seconds."
)
EXPIRED: Final = Counter(
    "billing_guard_holds_expired_total", "Holds whose time was over before their receipt came."
)
FORGOTTEN: Final = Counter(
    "billing_guard_holds_forgotten_total", "Holds that had ended long ago and were deleted."
)
BELOW_LIMIT: Final = Gauge(
    "billing_guard_accounts_below_zero",
    "Accounts whose balance is below what their limit allows, which is zero for prepaid ones.",
)
PLACE_SECONDS: Final = Histogram(
    "billing_guard_place_seconds",
    "Time from an ask for a hold to its answer, seconds.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
BATCH_ASKS: Final = Histogram(
    "billing_guard_batch_asks",
    "Asks that one statement answered.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000),
)
AMOUNTS: Final = Counter(
    "billing_guard_amounts_total",
    "Asks for a hold, by what their amount goes by: learned (rates), price (that LiteLLM knows), "
    "last_resort (ESTIMATED_USD_PER_1K_TOKENS), named (in the ask).",
    ["by"],
)
RATES_AGE_SECONDS: Final = Gauge(
    "billing_guard_rates_age_seconds",
    "How long ago the rates were learned that holds go by, seconds; before the first time since "
    "the start.",
)
RATES_MODELS: Final = Gauge("billing_guard_rates_models", "Models that have learned rates.")
WAITING: Final = Gauge("billing_guard_waiting_asks", "Asks that wait for a statement.")
CONNECTIONS_OPEN: Final = Gauge("billing_guard_open_connections", "Connections that are open.")
CONNECTIONS_MOST: Final = Gauge(
    "billing_guard_max_connections",
    "Most open connections; beyond it one of which nothing is in hand is closed for a new one.",
)
CONNECTIONS_CLOSED: Final = Counter(
    "billing_guard_closed_connections_total",
    "Connections closed without an answer, by reason: silent (nothing came in time), slow (a part "
    "of a request came in time), no_room (closed to take a new one).",
    ["reason"],
)
REQUESTS: Final = Counter(
    "billing_guard_requests_total", "Requests, by route and status.", ["route", "status"]
)
FAULTS: Final = Counter(
    "billing_guard_faults_total",
    "Failures, by what was done: asking PostgreSQL for answers, sweeping, or learning rates.",
    ["doing"],
)
