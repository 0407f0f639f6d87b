"""HTTP requests of the tests, each on a connection of its own and past any proxy."""

import ssl
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import httpx

from tests.waiting import NET_SECONDS

PROBE_SECONDS: Final = 5.0
"""A process that stands still takes the connection and never answers."""


@cache
def _tls() -> ssl.SSLContext:
    """One for all requests: making one takes fifty times as long as a request."""
    return ssl.create_default_context()


def get(
    url: str,
    *,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    """The answer to a GET, whatever its status.

    Args:
        url: http or https.
        params: its query.
        headers: of the request.

    Raises:
        httpx.TransportError: nobody answers.
    """
    return httpx.get(
        url,
        params=params,
        headers=headers,
        timeout=NET_SECONDS,
        trust_env=False,
        verify=_tls(),
    )


def probe(url: str) -> httpx.Response:
    """The answer to a GET of whoever asks again where nobody answers in `PROBE_SECONDS`.

    Raises:
        httpx.TransportError: nobody answers, or not in time.
    """
    return httpx.get(url, timeout=PROBE_SECONDS, trust_env=False, verify=_tls())


def post(
    url: str,
    *,
    headers: Mapping[str, str],
    content: bytes | None = None,
    json: Any = None,  # noqa: ANN401 - whatever JSON can say
) -> httpx.Response:
    """The answer to a POST, whatever its status.

    Args:
        url: http or https.
        headers: of the request.
        content: the body as it is.
        json: instead of it, a body to be written as JSON.

    Raises:
        httpx.TransportError: nobody answers.
    """
    return httpx.post(
        url,
        headers=headers,
        content=content,
        json=json,
        timeout=NET_SECONDS,
        trust_env=False,
        verify=_tls(),
    )
