"""The gateway: lost calls are put through the same front door as every callback."""

import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from time import sleep
from types import TracebackType
from typing import Final, Self

import httpx
import msgspec

from reconciler.answers import retry_after
from reconciler.proxy import FIRST_PAUSE_SECONDS, Patience
from runtime.backoff import BackOff

_PATH: Final = "/v1/callbacks/litellm"
_MOST_BYTES: Final = 4 * 1024 * 1024
"""Of a body. The gateway takes far more; it also bounds what waits in memory."""
_TOO_LARGE: Final = 413
_PASSING: Final = frozenset({408, 425, 429})
_SERVER_ERROR: Final = 500
_MOST_SHOWN: Final = 300


class GatewayError(Exception):
    """The gateway has not taken everything; the text says why and shows no secret."""


class Taken(msgspec.Struct, frozen=True):
    """How many callbacks are durable, and how many of those could not be read."""

    callbacks: int
    parked: int


class _Answer(msgspec.Struct):
    parked: int = 0


_answer: Final = msgspec.json.Decoder(_Answer)


class Gateway:
    """A gateway, and a few connections to it.

    `token` is asked before each POST, so that a new one is used at once. `failed` is told each
    fault that may pass.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[], str],
        patience: Patience,
        *,
        posts_at_once: int,
        callbacks_a_post: int,
        wait: Callable[[float], None] = sleep,
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._url = url.rstrip("/") + _PATH
        self._token = token
        self._patience = patience
        self._back_off = BackOff(FIRST_PAUSE_SECONDS, patience.longest_pause)
        self._most = callbacks_a_post
        self._wait = wait
        self._failed = failed
        self._client = httpx.Client(
            timeout=patience.silence,
            follow_redirects=False,
            verify=ssl.create_default_context(),
            limits=httpx.Limits(max_connections=posts_at_once),
        )
        self._pool = ThreadPoolExecutor(posts_at_once, thread_name_prefix="post")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._client.close()

    def post(self, callbacks: Sequence[bytes]) -> Taken:
        """Post callbacks, some at a time; on return each was answered 2xx.

        Raises `GatewayError` where one was not: those before it may have been taken all the same,
        and posting them again does no harm.
        """
        posts = [self._pool.submit(self._posted, batch) for batch in self._batches(callbacks)]
        parked = 0
        fault: Exception | None = None
        for post in posts:
            try:
                parked += post.result()
            except Exception as error:  # noqa: BLE001 - raised below, when no POST is under way
                fault = fault or error
        if fault is not None:
            raise fault
        return Taken(len(callbacks), parked)

    def _batches(self, callbacks: Sequence[bytes]) -> list[list[bytes]]:
        batches: list[list[bytes]] = []
        size = 0
        for callback in callbacks:
            if not batches or len(batches[-1]) >= self._most or size + len(callback) > _MOST_BYTES:
                batches.append([])
                size = 0
            batches[-1].append(callback)
            size += len(callback)
        return batches

    def _posted(self, callbacks: Sequence[bytes]) -> int:
        """Post one body until it is taken; return how many callbacks of it were parked."""
        body = b"[" + b",".join(callbacks) + b"]"
        fault = ""
        for attempt in range(1, self._patience.tries + 1):
            asked = None
            try:
                answer = self._client.post(
                    self._url,
                    content=body,
                    headers={
                        "authorization": f"Bearer {self._token()}",
                        "content-type": "application/json",
                    },
                )
            except (httpx.TransportError, httpx.DecodingError) as error:
                fault = f"{type(error).__name__}: {error}"
            else:
                if answer.is_success:
                    return _parked(answer.content)
                if answer.status_code == _TOO_LARGE and len(callbacks) > 1:
                    half = len(callbacks) // 2
                    return self._posted(callbacks[:half]) + self._posted(callbacks[half:])
                fault = f"status {answer.status_code}: {answer.text[:_MOST_SHOWN]}"
                if answer.status_code < _SERVER_ERROR and answer.status_code not in _PASSING:
                    raise GatewayError(f"{self._url} refuses what is posted: {fault}")
                asked = retry_after(answer.headers, datetime.now(UTC))
            self._failed(fault)
            if attempt < self._patience.tries:
                self._wait(self._back_off.pause(attempt, asked))
        raise GatewayError(
            f"{self._url} has not taken a body in {self._patience.tries} tries, at last: {fault}"
        )


def _parked(body: bytes) -> int:
    try:
        return _answer.decode(body).parked
    except msgspec.DecodeError:
        # Another answer of status 2xx than the gateway's is a promise all the same.
        return 0
