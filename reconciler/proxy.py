"""The proxy: questions to LiteLLM over HTTP, asked again while a fault may pass."""

import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import sleep
from types import TracebackType
from typing import Final, Self, TypeVar

import httpx
import msgspec

from reconciler.answers import (
    HalfAnswerError,
    KeyRefusedError,
    Meaning,
    UnavailableError,
    UnknownShapeError,
    meaning,
    retry_after,
)
from runtime.backoff import BackOff

FIRST_PAUSE_SECONDS: Final = 0.5
_CHUNK: Final = 64 * 1024
_HIDDEN: Final = b"***"
_Read = TypeVar("_Read")


class Patience(msgspec.Struct, frozen=True):
    """How long the proxy is waited for, and how much of it is read.

    `silence` is the longest wait within an answer and `longest_pause` the one between two tries,
    both in seconds; `answer_bytes` is the longest answer.
    """

    silence: float
    tries: int
    longest_pause: float
    answer_bytes: int


class Answer(msgspec.Struct, frozen=True):
    """An answer of the proxy, read to its end. Names of headers are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Proxy:
    """A LiteLLM proxy.

    `key` is asked before each question, so that a new one is used at once. Certificates are checked
    against those that the machine trusts (`SSL_CERT_FILE` names others). Redirects are not
    followed: they would take the key elsewhere.
    """

    def __init__(
        self,
        url: str,
        key: Callable[[], str],
        patience: Patience,
        *,
        wait: Callable[[float], None] = sleep,
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self._patience = patience
        self._back_off = BackOff(FIRST_PAUSE_SECONDS, patience.longest_pause)
        self._wait = wait
        self._failed = failed
        self._client = httpx.Client(
            timeout=patience.silence,
            follow_redirects=False,
            verify=ssl.create_default_context(),
            headers={"accept": "application/json"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def ask(
        self, path: str, parameters: Mapping[str, str], read: Callable[[Answer], _Read]
    ) -> _Read:
        """Ask the proxy, and return what `read` makes of its answer.

        A fault that may pass is told to `failed`, and the question asked again after a pause. So is
        one whose answer `read` finds cut off (`HalfAnswerError`). Raises a `SpendLogError`:
        `UnavailableError` after the last try, others at once.
        """
        fault = ""
        for attempt in range(1, self._patience.tries + 1):
            asked = None
            try:
                answer = self._asked(path, parameters)
                if meaning(answer.status, answer.body) is Meaning.GOOD:
                    return read(answer)
                fault = f"status {answer.status}"
                asked = retry_after(answer.headers, datetime.now(UTC))
            except HalfAnswerError as error:
                fault = f"an answer that is no JSON: {error}"
            except (httpx.TransportError, httpx.DecodingError) as error:
                fault = f"{type(error).__name__}: {error}"
            self._failed(fault)
            if attempt < self._patience.tries:
                self._wait(self._back_off.pause(attempt, asked))
        raise UnavailableError(
            f"{self._url}{path} could not be read in {self._patience.tries} tries, at last: {fault}"
        )

    def _asked(self, path: str, parameters: Mapping[str, str]) -> Answer:
        key = _fit(self._key())
        headers = {"authorization": f"Bearer {key}"}
        body = bytearray()
        with self._client.stream(
            "GET", self._url + path, params=dict(parameters), headers=headers
        ) as response:
            for part in response.iter_bytes(_CHUNK):
                body += part
                if len(body) > self._patience.answer_bytes:
                    raise UnknownShapeError(
                        f"an answer of {path} is longer than {self._patience.answer_bytes} bytes: "
                        "raise RECONCILER_ANSWER_BYTES, or ask for fewer rows at a time with "
                        "RECONCILER_PAGE_ROWS"
                    )
            if not response.is_success:
                # What is said of a fault is shown, and may repeat the key.
                body = body.replace(key.encode(), _HIDDEN)
            return Answer(response.status_code, dict(response.headers), bytes(body))


def _fit(key: str) -> str:
    """Return a key that a header can hold; what refuses another one would show it."""
    if key and key.isascii() and key.isprintable() and " " not in key:
        return key
    raise KeyRefusedError(
        "LITELLM_API_KEY is no key: it is empty, or holds blanks or characters that no header can"
    )
