"""A real Prometheus with the project's rules: each mistake fires the alert that the runbook names.

One test, as each begins where the one before ended: what fires goes on firing for ten minutes.
"""

from pathlib import Path

from schemas.topics import Topics
from tests.inputs import captures
from tests.inputs.callbacks import in_run
from tests.processes.gateway import Gateway
from tests.processes.prometheus import Alert, Prometheus
from tests.waiting import eventually

EUROPE = "e" * 32
BODY = captures.array([in_run(1)])


def newly(prometheus: Prometheus, before: set[Alert], *wanted: Alert) -> None:
    """Exactly these alerts fire that did not before.

    On a busy machine a scrape may be late and a target count as down for a moment; that passes.
    """
    eventually(lambda: prometheus.firing() - before, f"an alert, such as {wanted}")
    eventually(lambda: prometheus.firing() - before == set(wanted), f"just {wanted}")
    before |= set(wanted)


def bearer(token: str) -> dict[str, str]:
    """The header of a token."""
    return {"authorization": f"Bearer {token}"}


def test_report_16_each_mistake_fires_the_alert_that_the_runbook_names(
    prometheus: Prometheus, kafka: str, topics: Topics, topic_prefix: str, tmp_path: Path
) -> None:
    assert topics
    gateway = Gateway(
        kafka,
        topic_prefix,
        tmp_path,
        BILLING_INGEST_TOKENS=f"eu={EUROPE}",
        GATEWAY_SILENCE_LIMITS="litellm=0,litellm/eu=3",
    )
    prometheus.scrapes("billing-gateway", [gateway.metrics_url.removeprefix("http://")])
    prometheus.scrapes("billing-consumer", [prometheus.address])  # something that is up
    prometheus.start()
    try:
        with gateway.running():
            mistakes(prometheus, gateway)
        fired = prometheus.firing()
        prometheus.scrapes("billing-gateway", [])
        newly(prometheus, fired, ("BillingGatewayVanished", "critical", ""))
    finally:
        prometheus.stop()


def mistakes(prometheus: Prometheus, gateway: Gateway) -> None:
    """Make them one after the other; the last one ends the gateway."""
    fired = set[Alert]()
    scraped('billing_gateway_requests_total{route="callbacks",status="202"}', prometheus)
    # A good callback: the consumer, which is none, is all that there is to say.
    assert gateway.post(BODY).status_code == 202
    newly(prometheus, fired, ("BillingConsumerCommitsNothing", "critical", ""))

    assert gateway.post(BODY, "/v1/callback/litellm").status_code == 404
    newly(prometheus, fired, ("BillingGatewayWrongPath", "critical", "litellm"))

    assert gateway.post(BODY, headers=bearer("x" * 32)).status_code == 401
    newly(prometheus, fired, ("BillingGatewayRefusesCallers", "warning", ""))

    assert gateway.post(b"").status_code == 400
    newly(prometheus, fired, ("BillingGatewayRefusesBodies", "critical", "litellm"))

    # A LiteLLM that is stopped after it has sent something.
    assert gateway.post(BODY, headers=bearer(EUROPE)).status_code == 202
    newly(prometheus, fired, ("BillingSourceSilent", "warning", "litellm/eu"))

    gateway.server.kill()
    newly(prometheus, fired, ("BillingGatewayDown", "critical", ""))


def scraped(series: str, prometheus: Prometheus) -> None:
    """Wait until Prometheus has seen a series."""
    eventually(lambda: prometheus.value(series) is not None, series)
