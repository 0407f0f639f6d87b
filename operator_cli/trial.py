"""A call that costs nothing, from the gateway to its receipt: whether the whole path works."""

import time
import uuid
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from ledger.calls import books_of
from ledger.healing import LedgerError
from operator_cli import diagnosis
from operator_cli.diagnosis import Finding
from operator_cli.settings import Settings

ACCOUNT: Final = "billing-self-test"
"""Whose receipts of such calls are, so that everybody sees what they are."""
_PATH: Final = "/v1/callbacks/litellm"
_HTTP_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.25


def trial(found: Settings, seconds: float) -> Finding:
    """Post such a call to the gateway and wait for its receipt in PostgreSQL, at most `seconds`."""
    name = f"{ACCOUNT}-{uuid.uuid4()}"
    headers = {"Authorization": f"Bearer {found.ingest_token.get_secret_value()}"}
    began = time.monotonic()
    try:
        with httpx.Client(base_url=found.gateway_url, timeout=_HTTP_SECONDS) as client:
            status = client.post(_PATH, json=[_call(name)], headers=headers).status_code
        if status != httpx.codes.ACCEPTED:
            return diagnosis.of_trial(name, status, None, 0.0)
        while not (written := _is_written(found, name)):
            if time.monotonic() - began > seconds:
                break
            time.sleep(_LOOK_SECONDS)
    except (httpx.HTTPError, LedgerError) as error:
        return diagnosis.of_broken_trial(str(error).strip() or type(error).__name__)
    return diagnosis.of_trial(name, status, written, time.monotonic() - began)


def _call(name: str) -> dict[str, Any]:
    """Return a callback of LiteLLM's cache: the call has a receipt, and costs nothing."""
    now = datetime.now(UTC).timestamp()
    return {
        "id": name,
        "litellm_call_id": name,
        "call_type": "acompletion",
        "status": "success",
        "cache_hit": True,
        "response_cost": 0.0,
        "model": ACCOUNT,
        "model_group": ACCOUNT,
        "end_user": ACCOUNT,
        "request_tags": [ACCOUNT],
        "startTime": now,
        "endTime": now,
        "metadata": {"spend_logs_metadata": {"run_id": ACCOUNT, "attempt": 0}},
    }


def _is_written(found: Settings, name: str) -> bool:
    """Whether the call has its receipt. Raises `LedgerError`."""
    url = found.database_url.get_secret_value()
    return bool(books_of(url, name, found.consumer_group, 1, _HTTP_SECONDS).receipts)
