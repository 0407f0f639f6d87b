"""Bad input gets its answer, the good elements beside it are billed, the processes stay up."""

import gzip
import hashlib
import http.client
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.inputs import captures
from tests.inputs.captures import Calls
from tests.observers.deployment import Deployment
from tests.observers.ledger import Ledger
from tests.observers.topics import Topics
from tests.observers.traffic import Traffic, assert_restored
from tests.waiting import NET_SECONDS

ZERO = {"accepted": 0, "parked": 0, "spooled": 0}


@pytest.fixture
def traffic(deployment: Deployment, topics: Topics, ledger: Ledger) -> Traffic:
    """The topics from here on."""
    return Traffic(deployment, topics, ledger)


@pytest.mark.parametrize("token", ["", "wrong-token-that-is-long-enough-to-be-one", "ünïcode"])
def test_no_token_and_a_wrong_token_are_401(traffic: Traffic, calls: Calls, token: str) -> None:
    body = captures.array([calls.make().element])
    headers = {"Authorization": f"Bearer {token}".encode()} if token else {}
    url = urlsplit(traffic.deployment.gateway_url)
    connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=NET_SECONDS)
    connection.request("POST", "/v1/callbacks/litellm", body, headers)
    assert connection.getresponse().status == 401
    connection.close()
    assert traffic.nothing_happened()


def test_an_empty_list_is_accepted_and_is_nothing(traffic: Traffic) -> None:
    assert traffic.deployment.accept(b"[]") == ZERO
    assert traffic.deployment.accept(b" [ ] \n") == ZERO
    assert traffic.nothing_happened()


def test_BILLING_NEVER_THROWS_64_mib_of_nesting_is_parked_whole(traffic: Traffic) -> None:
    body = b"[" * (64 * 1024 * 1024)
    counts = traffic.deployment.accept(body)
    assert counts["accepted"] == 0
    assert counts["parked"] >= 1
    # The first bracket is the list's; what it opens on is the one damaged element.
    assert_restored(body[1:], traffic.dead_letters())


def test_a_body_that_is_not_json_is_parked_whole(traffic: Traffic) -> None:
    body = b"\x89PNG\r\n\x1a\n<html>not JSON at all</html>\x00\xff"
    assert traffic.deployment.accept(body) == {"accepted": 0, "parked": 1, "spooled": 0}
    traffic.assert_parked(body)


@pytest.mark.parametrize(
    "literal", ["NaN", "Infinity", "-Infinity", "1e400", "-1", "-1e-30", '"0.1"', "true", "{}"]
)
def test_ONE_BAD_ELEMENT_LOSES_NO_NEIGHBOUR_08_a_bad_cost_waits_for_a_person(
    traffic: Traffic, calls: Calls, literal: str
) -> None:
    before, bad, after = calls.make(), calls.with_cost(literal), calls.make()
    traffic.deployment.accept(captures.array([before.element, bad.element, after.element]))
    traffic.assert_billed(before, after)
    assert traffic.dead_letters() == []
    assert traffic.ledger.receipts(response_id=bad.response_id) == []
    (row,) = traffic.ledger.deferred(response_id=bad.response_id)
    assert (row["reason"], row["sent_cost"]) == ("unusable_cost", literal)
    assert row["resolved_at"] is None


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_a_word_that_is_not_json_elsewhere_does_not_stop_the_bill(
    traffic: Traffic, calls: Calls, word: str
) -> None:
    call, neighbour = calls.altered(_spend_logs("@word@")), calls.make()
    element = call.element.replace(b'"@word@"', word.encode())
    counts = traffic.deployment.accept(captures.array([element, neighbour.element]))
    assert counts == {"accepted": 2, "parked": 0, "spooled": 0}
    traffic.assert_billed(call, neighbour)
    kept = {record.value: record.headers.get("lenient-json") for record in traffic.callbacks()}
    assert kept == {element: b"true", neighbour.element: None}


def test_a_number_beyond_a_float_does_not_stop_the_bill(traffic: Traffic, calls: Calls) -> None:
    call, neighbour = calls.altered(_spend_logs("@word@")), calls.make()
    element = call.element.replace(b'"@word@"', b'{"a": 1e400}')
    traffic.deployment.accept(captures.array([element, neighbour.element]))
    traffic.assert_billed(call, neighbour)
    assert {record.value for record in traffic.callbacks()} == {element, neighbour.element}


def test_of_duplicate_keys_the_last_one_counts(traffic: Traffic, calls: Calls) -> None:
    call = calls.with_cost('7.25, "response_cost": 0.000036')
    traffic.deployment.accept(captures.array([call.element]))
    traffic.assert_billed(call)


@pytest.mark.parametrize(
    "text", [b"\xff\xfe invalid UTF-8 \xc3", b"\\ud800 a lone surrogate", b"raw \x01 control"]
)
def test_RAW_BYTES_SURVIVE_text_that_no_strict_parser_takes(
    traffic: Traffic, calls: Calls, text: bytes
) -> None:
    call, neighbour = calls.make(messages="@text@"), calls.make()
    element = call.element.replace(b"@text@", text)
    traffic.deployment.accept(captures.array([neighbour.element, element]))
    traffic.assert_billed(call, neighbour)
    assert element in {record.value for record in traffic.callbacks()}


def test_a_prompt_of_20_mb_is_billed_and_the_record_says_what_was_cut(
    traffic: Traffic, calls: Calls
) -> None:
    prompt = [{"role": "user", "content": "p" * 20_000_000}]
    call, neighbour = calls.make(messages=prompt), calls.make()
    traffic.deployment.accept(captures.array([call.element, neighbour.element]))
    traffic.assert_billed(call, neighbour)
    (cut,) = [r for r in traffic.callbacks() if "content-dropped" in r.headers]
    assert cut.headers["content-dropped"] == b"oversize"
    assert int(cut.headers["original-bytes"]) == len(call.element)
    digest = hashlib.sha256(call.element).hexdigest().encode()
    assert cut.headers["original-sha256"] == digest
    assert json.loads(cut.value)["id"] == call.response_id


def test_nul_in_a_run_and_in_an_account_is_replaced_and_billed(
    traffic: Traffic, calls: Calls
) -> None:
    run, account = calls.name("run"), calls.name("account")
    call = calls.in_run(f"{run}\x00", end_user=f"\x00{account}")
    traffic.deployment.accept(captures.array([call.element]))
    traffic.assert_billed(call)
    row = traffic.ledger.receipt(response_id=call.response_id)
    assert row["run_id"] == f"{run}\ufffd"
    assert row["billing_account_id"] == f"\ufffd{account}"
    assert row["marks"], "the receipt says that its text was changed"


def test_a_run_id_of_10000_characters_stays_one_run(traffic: Traffic, calls: Calls) -> None:
    run = calls.name("run") + "x" * 10_000
    first, second = calls.in_run(run), calls.in_run(run)
    other = calls.in_run(run + "y")
    traffic.deployment.accept(captures.array([first.element, second.element, other.element]))
    traffic.assert_billed(first, second, other)
    runs = [
        traffic.ledger.receipt(response_id=call.response_id)["run_id"]
        for call in (first, second, other)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_null_entries_are_dropped(traffic: Traffic, calls: Calls) -> None:
    call = calls.make()
    body = captures.array([b"null", call.element, b"null"])
    assert traffic.deployment.accept(body) == {"accepted": 1, "parked": 0, "spooled": 0}
    traffic.assert_billed(call)
    assert len(traffic.callbacks()) == 1


@pytest.mark.parametrize("not_an_object", [b"17", b'"text"', b"[1, 2]", b"true"])
def test_an_element_that_is_no_object_is_parked_alone(
    traffic: Traffic, calls: Calls, not_an_object: bytes
) -> None:
    call = calls.make()
    counts = traffic.deployment.accept(captures.array([not_an_object, call.element]))
    assert counts == {"accepted": 1, "parked": 1, "spooled": 0}
    traffic.assert_billed(call)
    traffic.assert_parked(not_an_object, reason="not_an_object")


@pytest.mark.parametrize("bad_id", [None, "", "   ", [], "absent"])
def test_10_half_a_key_is_a_key_and_none_is_none(
    traffic: Traffic, calls: Calls, bad_id: object
) -> None:
    def without(*names: str) -> Callable[[dict[str, Any]], None]:
        def change(event: dict[str, Any]) -> None:
            event.update(dict.fromkeys(names, bad_id))
            for name in names if bad_id == "absent" else ():
                del event[name]

        return change

    name, id_ = calls.name("call"), calls.name("chatcmpl")
    by_call = calls.altered(without("id"), litellm_call_id=name)
    by_id = calls.altered(without("litellm_call_id"), id=id_)
    neither, neighbour = calls.altered(without("id", "litellm_call_id")), calls.make()
    sent = [by_call.element, by_id.element, neither.element, neighbour.element, by_call.element]
    counts = traffic.deployment.accept(captures.array(sent))
    assert counts == {"accepted": 4, "parked": 1, "spooled": 0}
    traffic.assert_billed(neighbour)
    traffic.assert_parked(neither.element, reason="no_usable_id")
    for key in (name, id_):
        row = traffic.ledger.receipt(call_key=key)
        assert (row["cost_text"], row["response_id"]) == ("0.000036", key)
        assert "half_key" in row["marks"]


def test_10_a_number_is_an_id(traffic: Traffic, calls: Calls) -> None:
    number = int(calls.name("n").replace("-", "")[-12:], 16)
    call = calls.make(id=number)
    traffic.deployment.accept(captures.array([call.element, call.element]))
    traffic.assert_billed(call)
    row = traffic.ledger.receipt(response_id=str(number))
    assert row["call_key"] == f"{call.litellm_call_id}|{number}"


def test_11_a_run_that_is_a_number_is_one_run_on_one_partition(
    traffic: Traffic, calls: Calls
) -> None:
    run = int(calls.name("n").replace("-", "")[-12:], 16)
    spends: list[object] = [
        {"run_id": run, "attempt": 1},
        {"run_id": str(run), "attempt": "1", "sub_agent_id": 7},
        json.dumps({"run_id": float(run), "attempt": 1.0, "tool_call_id": 12}),
    ]
    sent = [calls.altered(_spend_logs(spend)) for spend in spends]
    traffic.deployment.accept(captures.array([call.element for call in sent]))
    traffic.assert_billed(*sent)
    rows = traffic.ledger.receipts(run_id=str(run), attempt=1)
    assert len(rows) == 3
    assert {row["kafka_partition"] for row in rows} == {rows[0]["kafka_partition"]}
    assert {(row["sub_agent_id"], row["tool_call_id"]) for row in rows} == {
        (None, None),
        ("7", None),
        (None, "12"),
    }
    assert not any("unattributed_run" in row["marks"] for row in rows)


def test_14_a_session_is_no_account_but_the_team_of_the_key_is(
    traffic: Traffic, calls: Calls
) -> None:
    team, blob = calls.name("team"), '{"device_id":"4f","account_uuid":"","session_id":"%s"}'

    def change(event: dict[str, Any]) -> None:
        event["end_user"] = blob % calls.name("session")
        event["metadata"]["user_api_key_team_id"] = team
        event["metadata"]["requester_custom_headers"] = None

    sent = [calls.altered(change), calls.altered(change)]
    traffic.deployment.accept(captures.array([call.element for call in sent]))
    traffic.assert_billed(*sent)
    assert len(traffic.ledger.receipts(billing_account_id=team)) == 2


@pytest.mark.parametrize("odd", [0, 1_500_000_000, 4_102_444_800, 1e300])
def test_times_that_cannot_be_are_those_of_the_receipt(
    traffic: Traffic, calls: Calls, odd: float
) -> None:
    call = calls.make(startTime=odd, endTime=odd)
    traffic.deployment.accept(captures.array([call.element]))
    traffic.assert_billed(call)
    row = traffic.ledger.receipt(response_id=call.response_id)
    assert abs(row["occurred_at"] - row["created_at"]) < timedelta(hours=1)
    assert "odd_time" in row["marks"]


def test_ONE_BAD_ELEMENT_LOSES_NO_NEIGHBOUR_one_broken_of_500(
    traffic: Traffic, calls: Calls
) -> None:
    good = [calls.make() for _ in range(499)]
    broken = b'{"id": "broken", "response_cost": oops}'
    parts = [call.element for call in good]
    body = captures.array([*parts[:250], broken, *parts[250:]])
    assert traffic.deployment.accept(body) == {"accepted": 499, "parked": 1, "spooled": 0}
    traffic.assert_billed(good[0], good[249], good[250], good[498])
    traffic.assert_parked(broken)
    assert {record.value for record in traffic.callbacks()} == set(parts)


def test_of_a_truncated_list_the_whole_elements_are_billed(traffic: Traffic, calls: Calls) -> None:
    whole, cut = [calls.make(), calls.make()], calls.make()
    tail = cut.element[:-500]
    body = captures.array([*(call.element for call in whole), tail])[:-1]
    counts = traffic.deployment.accept(body)
    assert counts == {"accepted": 2, "parked": 1, "spooled": 0}
    traffic.assert_billed(*whole)
    (letter,) = traffic.dead_letters()
    assert letter.value.strip(b" ,") == tail
    assert traffic.ledger.receipts(response_id=cut.response_id) == []


def test_of_a_list_that_lacks_only_its_end_everything_is_billed(
    traffic: Traffic, calls: Calls
) -> None:
    whole = [calls.make(), calls.make()]
    body = captures.array([call.element for call in whole])[:-1]
    assert traffic.deployment.accept(body)["accepted"] == 2
    traffic.assert_billed(*whole)


@pytest.mark.parametrize("spend_logs", [["a"], "text", 10**20, None, {}, {"run_id": 7}])
def test_metadata_of_any_shape_does_not_stop_the_bill(
    traffic: Traffic, calls: Calls, spend_logs: object
) -> None:
    call = calls.altered(_spend_logs(spend_logs))
    traffic.deployment.accept(captures.array([call.element]))
    traffic.assert_billed(call)


def test_gzip_is_415_and_stores_nothing(traffic: Traffic, calls: Calls) -> None:
    body = gzip.compress(captures.array([calls.make().element]))
    answer = traffic.deployment.post(body, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415
    assert traffic.nothing_happened()


def test_a_body_over_the_bound_is_413_before_it_is_read(traffic: Traffic) -> None:
    url = urlsplit(traffic.deployment.gateway_url)
    connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=NET_SECONDS)
    connection.putrequest("POST", "/v1/callbacks/litellm")
    connection.putheader("Authorization", f"Bearer {traffic.deployment.token}")
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()
    assert traffic.nothing_happened()


def _spend_logs(value: object) -> Callable[[dict[str, Any]], None]:
    def change(event: dict[str, Any]) -> None:
        event["metadata"]["spend_logs_metadata"] = value

    return change
