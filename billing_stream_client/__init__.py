"""For programs that call models through LiteLLM: say whose a call is, and tell the billing of it.

    with Run("run-7", attempt=2, gateway_url=..., token=...) as run:
        call = run.call(graph="poet", agent="rhymes")
        ...  # send `call.headers` with the request
        call.answered(response.headers)

Nothing here knows what a call costs (ADAPTERS_NEVER_BILL), and nothing raises once a call is on its
way (BILLING_NEVER_THROWS): what is wrong before it is a `WrongInputError` in words.
"""

from billing_stream_client.call import Call
from billing_stream_client.gateway import Posted
from billing_stream_client.headers import check_headers
from billing_stream_client.names import WrongInputError, end_user_of, run_attempt
from billing_stream_client.run import Run
from billing_stream_client.signing import signed
from billing_stream_client.unit import Unit

__all__ = [
    "Call",
    "Posted",
    "Run",
    "Unit",
    "WrongInputError",
    "check_headers",
    "end_user_of",
    "run_attempt",
    "signed",
]
