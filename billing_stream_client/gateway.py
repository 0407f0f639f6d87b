"""Posting usage units to the billing's gateway, for as long as it has patience and no longer."""

import http.client
import json
import logging
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol
from urllib.parse import urlsplit

from billing_stream_client.names import WrongInputError
from billing_stream_client.unit import Unit

PATH: Final = "/v1/usage-units"
AT_ONCE: Final = 500
"""Units of one POST, about 300 kB."""

_log: Final = logging.getLogger("billing_stream_client")
_ACCEPTED: Final = 202
_INVALID: Final = 422
_PASSING: Final = frozenset({0, 408, 425, 429})
"""Beside all from 500 on; 0 is no answer at all."""
_SERVER: Final = 500
_SECONDS: Final = 10.0
"""The longest wait for one answer."""
_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 5.0
_MOST_SAID: Final = 500


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of usage units.

    `accepted` are durable. `refused` will never be taken. `waiting` could not be delivered and may
    be posted again. `said` is the last reason in words, empty where all went well.
    """

    accepted: int = 0
    refused: int = 0
    waiting: int = 0
    said: str = ""


class Sender(Protocol):
    """Who has units posted, and is told which of them need not be posted again."""

    def accepted(self, units: Sequence[Unit]) -> None:
        """Hear that these are durable."""

    def refused(self, units: Sequence[Unit]) -> None:
        """Hear that these will never be taken as they are."""


class _Answer(Exception):  # noqa: N818 - no error, how an answer that is not 202 comes back
    def __init__(self, said: str, status: int = 0, pause: float = 0.0) -> None:
        super().__init__(said)
        self.status, self.pause = status, pause

    @property
    def passes(self) -> bool:
        return self.status in _PASSING or self.status >= _SERVER


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows nobody: the token would go wherever a redirect leads."""

    def redirect_request(self, *_: object) -> None:
        """Make no second request."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """The gateway and a token of it.

    Args:
        url: http or https, without the path of the endpoint.
        token: a bearer token; shown nowhere.
        patience_seconds: for one `post`, with all its repeats and pauses.

    Raises:
        WrongInputError: the URL or the token cannot be used.
    """

    url: str
    token: str = field(repr=False)
    patience_seconds: float

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise WrongInputError("gateway_url must be http://HOST or https://HOST")
        if parts.username or parts.query or parts.fragment or parts.path.endswith(PATH):
            raise WrongInputError("gateway_url is the gateway's address alone, without endpoint")
        if not (self.token and self.token.isascii() and self.token.isprintable()):
            raise WrongInputError("token must be a text of printable ASCII")
        if not 0 < self.patience_seconds < float("inf"):
            raise WrongInputError("patience_seconds must be above 0")

    def post(self, units: Sequence[Unit], sender: Sender) -> Posted:
        """Post `units` in lists, and tell `sender` what became of each. Never raises.

        A unit that the gateway refuses keeps no other one from it. The end of a run is a list of
        its own after all others, and is not sent while one of them waits: whoever reads it may
        rely on what the run has told before.
        """
        until, posted = time.monotonic() + self.patience_seconds, Posted()
        others = [unit for unit in units if not unit.run_completed]
        for first in range(0, len(others), AT_ONCE):
            some = others[first : first + AT_ONCE]
            posted = self._deliver(some, until, posted, sender)
        if end := [unit for unit in units if unit.run_completed]:
            if posted.waiting:
                posted = replace(posted, waiting=posted.waiting + len(end))
            else:
                posted = self._deliver(end, until, posted, sender)
        if posted.said:
            _log.warning(
                "the gateway has not taken all usage units: %d refused, %d wait to be posted: %s",
                posted.refused, posted.waiting, posted.said,
            )  # fmt: skip
        return posted

    def _deliver(
        self,
        units: Sequence[Unit],
        until: float,
        posted: Posted,
        sender: Sender,
    ) -> Posted:
        answer = self._repeated(units, until)
        if answer is None:
            sender.accepted(units)
            return replace(posted, accepted=posted.accepted + len(units))
        if answer.passes:
            return replace(posted, waiting=posted.waiting + len(units), said=str(answer))
        if answer.status == _INVALID and len(units) > 1:
            half = len(units) // 2
            posted = self._deliver(units[:half], until, posted, sender)
            return self._deliver(units[half:], until, posted, sender)
        sender.refused(units)
        return replace(posted, refused=posted.refused + len(units), said=str(answer))

    def _repeated(self, units: Sequence[Unit], until: float) -> _Answer | None:
        """Post until it is taken, refused, or `until` has come; None when it was taken."""
        body = json.dumps([unit.row() for unit in units]).encode()
        pause = _FIRST_PAUSE
        while True:
            left = until - time.monotonic()
            if left <= 0:
                return _Answer("no patience was left to post them")
            try:
                self._once(body, min(_SECONDS, left))
            except _Answer as answer:
                wait = max(answer.pause, pause * secrets.SystemRandom().uniform(0.5, 1.0))
                if not answer.passes or time.monotonic() + wait >= until:
                    return answer
                _log.debug("posted again in %.1f s: %s", wait, answer)
                time.sleep(wait)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                return None

    def _once(self, body: bytes, seconds: float) -> None:
        request = urllib.request.Request(  # noqa: S310 - the scheme is http or https
            self.url.rstrip("/") + PATH,
            body,
            {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"},
        )
        try:
            with urllib.request.build_opener(_Stay).open(request, timeout=seconds) as response:
                if response.status != _ACCEPTED:
                    raise _Answer(
                        f"answered {response.status}, as no gateway does", response.status
                    )
        except urllib.error.HTTPError as error:
            with error:
                raise _Answer(_said(error), error.code, _retry_after(error)) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _Answer(f"the gateway cannot be reached: {error}") from None


def _said(error: urllib.error.HTTPError) -> str:
    try:
        text = error.read(_MOST_SAID).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        text = ""
    shown = "".join(one if one.isprintable() else " " for one in text).strip()
    return f"answered {error.code}" + (f": {shown}" if shown else "")


def _retry_after(error: urllib.error.HTTPError) -> float:
    seconds = error.headers.get("Retry-After", "") if error.headers else ""
    return float(seconds) if seconds.isascii() and seconds.isdecimal() else 0.0
