"""The sample: one callback that every release must read and store, whoever sends what.

It tells a bad release from bad records. It goes through the same decision and the same tables as
what is on the topic, and is never written.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from charging.outcomes import Charge, Decided, Decision
from schemas.record import Record

_COST: Final = Decimal("0.000036")
_VALUE: Final = (
    b'{"id": "chatcmpl-sample", "litellm_call_id": "sample", "call_type": "acompletion",'
    b' "cache_hit": null, "stream": true, "status": "success", "custom_llm_provider": "openai",'
    b' "saved_cache_cost": 0.0, "startTime": 1795312941.25, "endTime": 1795312942.75,'
    b' "completionStartTime": 1795312941.5, "model": "openai/gpt-4o-mini", "metadata":'
    b' {"user_api_key_team_id": "sample", "spend_logs_metadata": {"run_id": "sample",'
    b' "attempt": 0}}, "response_cost": 3.6e-05, "prompt_tokens": 120, "completion_tokens": 30,'
    b' "total_tokens": 150, "request_tags": ["sample"], "end_user": "sample",'
    b' "model_group": "gpt-4o-mini", "error_str": null}'
)
"""As LiteLLM 1.109 reports a streamed call; the source is one that no token can have."""
_RECORD: Final = Record(
    "sample", 0, 0, 1_795_312_950_000, b"sample", _VALUE, [("source", b"sample")]
)


def decided_sample(decide: Callable[[Record], Decision]) -> Decided | None:
    """Return the sample with its charge; None where `decide` does not read it as it must."""
    decision = decide(_RECORD)
    read = isinstance(decision, Charge) and decision.receipt.response_cost_usd == _COST
    return Decided(_RECORD, decision) if read else None
