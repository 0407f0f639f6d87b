"""The gateway's answers, with a store in memory."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from producer_gateway.routes import CALLBACKS_ALIAS, CALLBACKS_PATH, USAGE_UNITS_PATH
from schemas.headers import header
from tests.doubles.memory_gateway import EUROPE, MAX_BODY_BYTES, ONE, PREVIOUS, TOKEN, MemoryGateway
from tests.inputs import captures
from tests.inputs.callbacks import element, usage_unit


@pytest.fixture
def double() -> MemoryGateway:
    """A gateway that stores in memory."""
    return MemoryGateway()


@pytest.mark.parametrize("path", [CALLBACKS_PATH, CALLBACKS_ALIAS])
def test_202_says_how_many(double: MemoryGateway, path: str) -> None:
    answer = double.request(captures.array([element(), b"null", b"7"]), path=path)
    assert answer.status_code == 202
    assert answer.json() == {"accepted": 1, "parked": 1, "spooled": 0}
    assert len(double.store.records) == 2
    for outcome in ("accepted", "parked", "null"):
        assert double.metric("billing_gateway_callbacks_total", outcome=outcome) == 1
    assert double.metric("billing_gateway_parked_total", reason="not_an_object") == 1
    assert double.metric("billing_gateway_requests_total", route="callbacks", status="202") == 1


@pytest.mark.parametrize("body", [b"[]", b" [ ] \n", b"\xef\xbb\xbf[]", b"[null]", b"null"])
def test_a_list_of_nothing_is_accepted_and_stores_nothing(
    double: MemoryGateway, body: bytes
) -> None:
    answer = double.request(body)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 0)
    assert double.store.records == []


@pytest.mark.parametrize("body", [b"", b" \r\n\t", b"\xef\xbb\xbf"])
@pytest.mark.parametrize(
    ("path", "route"), [(CALLBACKS_PATH, "callbacks"), (USAGE_UNITS_PATH, "usage_units")]
)
def test_an_empty_body_is_400_and_counted(
    double: MemoryGateway, body: bytes, path: str, route: str
) -> None:
    answer = double.request(body, path=path)
    assert (answer.status_code, answer.json()["error"]) == (400, "empty_body")
    assert double.metric("billing_gateway_requests_total", route=route, status="400") == 1
    assert double.refused("400", "empty_body", "litellm") == 1


@pytest.mark.parametrize("body", [b"[", b"[,", b" [ ,, ] "])
def test_a_torn_list_of_nothing_is_parked_whole(double: MemoryGateway, body: bytes) -> None:
    answer = double.request(body)
    assert answer.json() == {"accepted": 0, "parked": 1, "spooled": 0}
    assert [record.value for record in double.store.records] == [body]


def test_a_body_of_another_length_than_declared_is_400(double: MemoryGateway) -> None:
    for length in (len(ONE) - 1, len(ONE) + 1):
        answer = double.request(ONE, headers={"content-length": str(length)})
        assert (answer.status_code, answer.json()["error"]) == (400, "incomplete_body")
    assert double.store.records == []


@pytest.mark.parametrize(
    ("token", "source"), [(TOKEN, "litellm"), (PREVIOUS, "litellm"), (EUROPE, "litellm/eu")]
)
def test_every_active_token_opens_and_names_its_source(
    double: MemoryGateway, token: str, source: str
) -> None:
    assert double.request(token=token).status_code == 202
    assert header(double.store.records[0].headers, "source") == source


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        (None, "missing"),
        ("", "malformed"),
        ("Bearer", "malformed"),
        (f"Basic {TOKEN}", "malformed"),
        (TOKEN, "malformed"),
        ("Bearer wrong", "wrong"),
        (f"Bearer {TOKEN}x", "wrong"),
        (f"Bearer {TOKEN[:-1]}", "wrong"),
        (f"Bearer {TOKEN.upper()}", "wrong"),
    ],
)
@pytest.mark.parametrize("path", [CALLBACKS_PATH, CALLBACKS_ALIAS, USAGE_UNITS_PATH])
def test_401_stores_nothing_and_is_counted(
    double: MemoryGateway, path: str, authorization: str | None, reason: str
) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    answer = double.request(path=path, token=None, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"] == reason
    assert double.store.records == []
    assert double.metric("billing_gateway_auth_failures_total", reason=reason) == 1


def test_the_scheme_is_read_in_any_case(double: MemoryGateway) -> None:
    assert (
        double.request(token=None, headers={"authorization": f"bearer {TOKEN}"}).status_code == 202
    )


async def chunks(size: int, count: int) -> AsyncIterator[bytes]:
    """A body that comes in pieces, without a declared length."""
    for _ in range(count):
        yield b" " * size


def endless() -> AsyncIterator[bytes]:
    """A body that would fill any memory."""
    return chunks(10_000, 10**9)


@pytest.mark.parametrize("body", [lambda: b" " * (MAX_BODY_BYTES + 1), endless])
def test_413_over_the_bound_declared_or_not(
    double: MemoryGateway, body: Callable[[], bytes | AsyncIterator[bytes]]
) -> None:
    answer = double.request(body())
    assert answer.status_code == 413
    assert double.metric("billing_gateway_inflight_bytes") == 0
    assert double.metric("billing_gateway_requests_total", route="callbacks", status="413") == 1


async def just_the_bound() -> AsyncIterator[bytes]:
    """A list of nothing of the largest size, in pieces."""
    yield b"["
    yield b" " * (MAX_BODY_BYTES - 2)
    yield b"]"


@pytest.mark.parametrize("body", [lambda: b"[]".ljust(MAX_BODY_BYTES), just_the_bound])
def test_a_body_of_just_the_bound_is_taken(
    double: MemoryGateway, body: Callable[[], bytes | AsyncIterator[bytes]]
) -> None:
    assert double.request(body()).status_code == 202
    assert double.metric("billing_gateway_received_bytes_total") == MAX_BODY_BYTES


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "identity, gzip", "br"])
def test_415_for_an_encoding_that_is_not_offered(double: MemoryGateway, encoding: str) -> None:
    answer = double.request(gzip.compress(ONE), headers={"content-encoding": encoding})
    assert answer.status_code == 415
    assert answer.headers["accept-encoding"] == "identity"
    assert double.store.records == []


def test_gzip_without_saying_so_is_parked(double: MemoryGateway) -> None:
    body = gzip.compress(ONE)
    assert double.request(body, headers={"content-encoding": "identity"}).json()["parked"] == 1
    assert double.store.records[0].value == body


def test_503_where_nothing_could_be_stored(double: MemoryGateway) -> None:
    double.store.refuses = True
    answer = double.request()
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert double.metric("billing_gateway_not_stored_total", reason="delivery_failed") == 1
    assert double.metric("billing_gateway_callbacks_total", outcome="accepted") == 0


def test_503_where_too_many_bytes_are_in_hand(double: MemoryGateway) -> None:
    async def both() -> list[httpx.Response]:
        reading, held = asyncio.Event(), asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield ONE + b" " * (MAX_BODY_BYTES - 2 * len(ONE))
            reading.set()
            await held.wait()

        transport = httpx.ASGITransport(double._app)  # noqa: SLF001 - the loop must be shared
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            first = asyncio.create_task(
                client.post(CALLBACKS_PATH, content=slow(), headers=headers)
            )
            await reading.wait()
            second = await client.post(CALLBACKS_PATH, content=ONE * 2, headers=headers)
            held.set()
            return [await first, second]

    first, second = asyncio.run(both())
    assert (first.status_code, second.status_code) == (202, 503)
    assert second.headers["retry-after"] == "1"
    assert double.metric("billing_gateway_inflight_bytes") == 0
    assert double.metric("billing_gateway_not_stored_total", reason="inflight") == 1


def test_a_body_that_does_not_arrive_is_given_up() -> None:
    double = MemoryGateway(GATEWAY_BODY_TIMEOUT_S="0.2")

    async def stuck() -> AsyncIterator[bytes]:
        yield ONE
        await asyncio.Event().wait()

    answer = double.request(stuck())
    assert (answer.status_code, answer.json()["error"]) == (408, "slow_body")
    assert answer.headers["connection"] == "close"
    assert double.refused("408", "slow_body", "litellm") == 1
    assert double.metric("billing_gateway_abandoned_requests_total") == 1
    assert double.metric("billing_gateway_inflight_bytes") == 0
    assert double.store.records == []


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (TRACE, TRACE),
        (TRACE.upper(), None),
        (f"ff{TRACE[2:]}", None),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", None),
        (f"{TRACE}-more", None),
        ("hello", None),
        ("", None),
    ],
)
def test_a_valid_traceparent_is_passed_on(
    double: MemoryGateway, given: str, kept: str | None
) -> None:
    double.request(headers={"traceparent": given})
    assert header(double.store.records[0].headers, "traceparent") == kept


def test_a_content_type_of_any_kind_and_length_is_noted(double: MemoryGateway) -> None:
    double.request(headers={"content-type": "text/plain; " + "x" * 5_000})
    noted = header(double.store.records[0].headers, "content-type")
    assert noted is not None
    assert noted.startswith("text/plain; x")
    assert len(noted) < 500


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", [CALLBACKS_PATH, CALLBACKS_ALIAS, f"/{USAGE_UNITS_PATH}/"])
def test_405_says_what_is_allowed_and_is_counted(
    double: MemoryGateway, method: str, path: str
) -> None:
    answer = double.request(method=method, path=path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert answer.json()["paths"] == [CALLBACKS_PATH, USAGE_UNITS_PATH, CALLBACKS_ALIAS]
    route = "usage_units" if USAGE_UNITS_PATH in path else "callbacks"
    assert double.metric("billing_gateway_requests_total", route=route, status="405") == 1
    assert double.refused("405", "method", "litellm") == 1


@pytest.mark.parametrize(
    "path",
    [
        "/v1/callbacks/litellm/",
        "//v1/callbacks/litellm",
        "/v1//callbacks/litellm",
        "/v1/callbacks///litellm//",
        "/api/internal/billing/ingest/",
        "/v1/callbacks%2Flitellm",
        "/v1/callbacks/litellm/?a=b",
    ],
)
def test_report_16_slashes_too_many_change_nothing(double: MemoryGateway, path: str) -> None:
    answer = double.request(path=path)
    assert answer.json() == {"accepted": 1, "parked": 0, "spooled": 0}
    assert len(double.store.records) == 1
    assert double.metric("billing_gateway_requests_total", route="callbacks", status="202") == 1
    units = json.dumps(usage_unit()).encode()
    assert double.request(units, path=f"/{USAGE_UNITS_PATH}/").status_code == 202


@pytest.mark.parametrize(
    "path", ["/v1/callbacks", "/", "//", "/v1/callbacks/litellm/x", "/V1/callbacks/litellm"]
)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_report_16_a_wrong_path_is_404_says_the_right_one_and_is_counted(
    double: MemoryGateway, path: str, method: str
) -> None:
    answer = double.request(path=path, method=method)
    assert answer.status_code == 404
    assert "location" not in answer.headers
    assert CALLBACKS_PATH in answer.json()["paths"]
    assert "GENERIC_LOGGER_ENDPOINT" in answer.json()["detail"]
    assert double.metric("billing_gateway_requests_total", route="unknown", status="404") == 1
    assert double.refused("404", "unknown_path", "litellm") == 1
    assert double.request(path=path, method=method, token="x" * 32).status_code == 404
    assert double.refused("404", "unknown_path", "unknown") == 1
    assert double.metric("billing_gateway_auth_failures_total", reason="wrong") == 0


def test_no_stranger_makes_a_label(double: MemoryGateway) -> None:
    def series() -> int:
        return sum(len(list(family.samples)) for family in double.metrics.registry.collect())

    double.request(path="/a", method="GET")
    before = series()
    for number in range(20):
        double.request(path=f"/{number}", method=f"M{number}")
    assert series() == before


@pytest.mark.parametrize(("token", "source"), [(TOKEN, "litellm"), (EUROPE, "litellm/eu")])
def test_the_last_callback_of_each_source_has_its_time(
    double: MemoryGateway, token: str, source: str
) -> None:
    name = "billing_gateway_source_last_callback_timestamp_seconds"
    double.request(b"[]", token=token)
    double.request(token=token, path="/v1/callbacks")
    double.request(json.dumps(usage_unit()).encode(), token=token, path=USAGE_UNITS_PATH)
    assert double.metric(name, source=source) == 0
    before = time.time()
    double.request(token=token)
    assert before <= double.metric(name, source=source) <= time.time()
    assert sum(len(family.samples) for family in double.metrics.last_callback.collect()) == 1


def test_only_sources_that_may_not_be_silent_have_a_limit() -> None:
    double = MemoryGateway(GATEWAY_SILENCE_LIMIT_S="60", GATEWAY_SILENCE_LIMITS="litellm/eu=0")
    samples = [s for f in double.metrics.silence_limit.collect() for s in f.samples]
    assert [(s.labels["source"], s.value) for s in samples] == [("litellm", 60)]


def test_usage_units_are_stored_under_their_run(double: MemoryGateway) -> None:
    units = [usage_unit(run_id="run-1"), usage_unit(run_id="run-2")]
    answer = double.request(json.dumps(units).encode(), path=USAGE_UNITS_PATH)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 2)
    assert [record.key for record in double.store.records] == [b"run-1", b"run-2"]
    assert {record.topic for record in double.store.records} == {"billing.usage-units.v1"}
    assert json.loads(double.store.records[0].value)["executor"] == "tests"
    assert double.request(json.dumps(units[0]).encode(), path=USAGE_UNITS_PATH).status_code == 202


def test_the_end_of_a_run_is_stored_as_such_and_no_other_unit_is(double: MemoryGateway) -> None:
    units = [usage_unit(litellm_call_id="c-1"), usage_unit(run_completed=True)]
    assert double.request(json.dumps(units).encode(), path=USAGE_UNITS_PATH).status_code == 202
    call, end = (json.loads(record.value) for record in double.store.records)
    assert "run_completed" not in call
    assert end["run_completed"] is True


def test_the_end_of_a_run_that_names_a_call_is_refused_in_words(double: MemoryGateway) -> None:
    body = json.dumps(usage_unit(run_completed=True, litellm_call_id="c-1")).encode()
    answer = double.request(body, path=USAGE_UNITS_PATH)
    assert answer.status_code == 422
    assert "a unit with run_completed names no call" in answer.json()["detail"][0]["msg"]
    assert double.store.records == []


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"{", []),
        (b"7", []),
        (json.dumps(usage_unit(cost=1)).encode(), ["cost"]),
        (json.dumps([usage_unit(), usage_unit(run_id="")]).encode(), [1, "run_id"]),
        (json.dumps(usage_unit(finished_at="2026-11-22T10:00:00")).encode(), ["finished_at"]),
        (json.dumps([usage_unit(run_completed=True, response_id="r")]).encode(), [0]),
    ],
)
def test_422_says_which_field_of_which_unit_is_wrong(
    double: MemoryGateway, body: bytes, where: list[str | int]
) -> None:
    answer = double.request(body, path=USAGE_UNITS_PATH)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == where
    assert double.store.records == []


def test_the_process_is_measured_too(double: MemoryGateway) -> None:
    assert double.metric("process_open_fds") > 0
    assert double.metric("python_gc_collections_total", generation="0") > 0
