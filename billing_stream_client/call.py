"""A call of a run: the headers of its request, and the usage unit that comes of its answer."""

import threading
import uuid
from collections.abc import Callable
from dataclasses import replace

from billing_stream_client.headers import call_id_of
from billing_stream_client.unit import Unit, id_of, now, tokens_of


class Call:
    """One call, or several with the same headers. `Run.call` makes it; many threads may use it.

    Args:
        headers: of the request.
        blank: the usage unit without what only the answer tells.
        keep: takes each usage unit, also a later state of one.
        give_up: takes the reason where there is none.
    """

    def __init__(
        self,
        headers: dict[str, str],
        blank: Unit,
        keep: Callable[[Unit], None],
        give_up: Callable[[str], None],
    ) -> None:
        self._headers, self._blank = headers, blank
        self._keep, self._give_up = keep, give_up
        self._lock = threading.Lock()
        self._units = dict[str, Unit]()
        self._last: Unit | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the request; a dictionary of the caller's own."""
        return dict(self._headers)

    def answered(
        self,
        headers: object = None,
        *,
        response_id: object = None,
        model: object = None,
        tokens_in: object = None,
        tokens_out: object = None,
    ) -> str | None:
        """Tell that the call was answered; returns LiteLLM's id of it. Never raises.

        Of a stream it may be told twice: when the headers are there, and, without them, what is
        known at its end. An answer with another id is another call. What is no id and no number of
        tokens is left out.

        Args:
            headers: of the response, also of one that says an error; a mapping or pairs.
            response_id: the `id` in the answer.
            model: that was asked for.
            tokens_in: of the prompt.
            tokens_out: of the answer.
        """
        try:
            call_id = id_of(call_id_of(headers)) if headers is not None else None
            return self._tell(
                call_id, id_of(response_id), id_of(model), tokens_of(tokens_in),
                tokens_of(tokens_out),
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - BILLING_NEVER_THROWS
            self._give_up(repr(error))
            return None

    def _tell(
        self,
        call_id: str | None,
        response_id: str | None,
        model: str | None,
        tokens_in: int | None,
        tokens_out: int | None,
    ) -> str | None:
        with self._lock:
            unit = self._known(call_id, response_id)
            if unit is None and call_id is None and response_id is None:
                self._give_up("its headers have no x-litellm-call-id. Does it come from LiteLLM?")
                return None
            if unit is None:
                unit = replace(self._blank, unit_id=str(uuid.uuid4()))
                self._blank = replace(self._blank, started_at=None)
            unit = replace(
                unit,
                litellm_call_id=call_id or unit.litellm_call_id,
                response_id=response_id or unit.response_id,
                model=model or unit.model,
                tokens_in=unit.tokens_in if tokens_in is None else tokens_in,
                tokens_out=unit.tokens_out if tokens_out is None else tokens_out,
                finished_at=now(),
            )
            if unit.litellm_call_id is not None:
                self._units[unit.litellm_call_id] = unit
            self._last = unit
            self._keep(unit)
        return unit.litellm_call_id

    def _known(self, call_id: str | None, response_id: str | None) -> Unit | None:
        """Return the unit of the same call, None where it is another call."""
        last = self._last
        if call_id is not None and (last is None or last.litellm_call_id is not None):
            return self._units.get(call_id)
        if last is None or (response_id and last.response_id not in {None, response_id}):
            return None
        return last
