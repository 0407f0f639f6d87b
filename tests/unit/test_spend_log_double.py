"""The server that stands in for LiteLLM's spend log answers what real proxies answered."""

import json
from typing import Any

import httpx
import pytest

from demo.spend_log_rows import row_of
from demo.spend_log_table import SpendLogTable
from tests.doubles.spend_log_server import KEY, serving
from tests.inputs import spend_log_captures as captures
from tests.inputs.spend_log_captures import VERSIONS, Asked

ASKED = [(version, asked) for version in VERSIONS for asked in captures.questions(version)]
OF_ALL = (
    *("request_id", "litellm_call_id", "call_type", "status", "model_group", "api_key"),
    *("user", "team_id", "organization_id", "end_user", "request_tags", "spend"),
)
"""What a row and the row made of its callback share in every capture."""
OF_SUCCESSES = (
    *("startTime", "endTime", "prompt_tokens", "completion_tokens", "total_tokens", "model"),
    *("custom_llm_provider", "cache_hit"),
)
"""And in those of calls that did not fail: a failure is counted and timed twice."""
METADATA_OF_ALL = ("status", "user_api_key", "user_api_key_team_id", "litellm_call_id")


def filled(version: str) -> SpendLogTable:
    """A table of the captured rows."""
    table = SpendLogTable(version)
    # Rows of one millisecond keep the order in which they were shown.
    table.fill(captures.shown(version))
    return table


def told(body: Any) -> Any:  # noqa: ANN401 - JSON
    """A body with rows by their ids."""
    if isinstance(body, dict) and isinstance(body.get("data"), list):
        return {**body, "data": [row["request_id"] for row in body["data"]]}
    if isinstance(body, list) and body and "request_id" in body[0]:
        return [row["request_id"] for row in body]
    return body


def rounded(body: Any) -> Any:  # noqa: ANN401 - JSON
    """A body with sums as far as two orders of adding agree."""
    if isinstance(body, dict):
        return {name: rounded(value) for name, value in body.items()}
    if isinstance(body, list):
        return [rounded(value) for value in body]
    return round(body, 12) if isinstance(body, float) else body


@pytest.mark.parametrize(("version", "asked"), ASKED, ids=lambda value: str(value)[:70])
def test_every_recorded_question_has_the_recorded_answer(version: str, asked: Asked) -> None:
    found = filled(version).answer(asked.path, asked.parameters)
    assert found.status == asked.status
    assert rounded(told(found.body)) == rounded(asked.body)


@pytest.mark.parametrize("version", VERSIONS)
def test_rows_are_shown_as_they_were_recorded_by_both_routes(version: str) -> None:
    table, day = filled(version), {"start_date": "2026-11-26", "end_date": "2026-11-27"}
    paged = table.answer("/spend/logs/v2", {**day, "page_size": "100"}).body["data"]
    assert json.dumps(paged) == json.dumps(captures.shown(version))
    listed = table.answer("/spend/logs", {**day, "summarize": "false"}).body
    for row, recorded in zip(listed, captures.listed_rows(version), strict=True):
        wanted = json.loads(recorded)
        assert row.keys() == wanted.keys()
        for name in ("spend", "startTime", "endTime", "messages", "cache_hit", "request_tags"):
            assert (name, json.dumps(row[name])) == (name, json.dumps(wanted[name]))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_row_made_of_a_callback_is_the_row_that_the_proxy_made(version: str) -> None:
    rows = {(row["litellm_call_id"], row["request_id"]): row for row in captures.shown(version)}
    table = SpendLogTable(version)
    made = [row_of(json.loads(one), version) for one in captures.callbacks(version)]
    table.accept(json.loads(one) for one in captures.callbacks(version))
    day = {"start_date": "2026-11-26", "end_date": "2026-11-27", "page_size": "100"}
    found = {
        (row["litellm_call_id"], row["request_id"]): row
        for row in table.answer("/spend/logs/v2", day).body["data"]
    }
    assert len(found) == len(made) == len(rows)
    timed = {key for key in rows if "_cache_hit" in key[1]}
    assert {call for call, _ in found.keys() ^ rows.keys()} == {call for call, _ in timed}
    for key in rows.keys() - timed:
        row, made_row = rows[key], found[key]
        succeeded = row["status"] == "success"
        for name in (*OF_ALL, *OF_SUCCESSES) if succeeded else OF_ALL:
            assert (name, made_row[name]) == (name, row[name])
        for name in made_row["metadata"] if succeeded else METADATA_OF_ALL:
            assert (name, made_row["metadata"][name]) == (name, row["metadata"][name])


def test_a_proxy_s_callbacks_fill_it_and_a_repeated_id_loses_its_row() -> None:
    version = "1.110.2"
    with serving(SpendLogTable(version)) as server:
        for one in captures.callbacks(version):
            body = b"[" + one + b"," + one + b"]"
            assert httpx.post(f"{server.url}/callbacks", content=body).status_code == 200
        day = {"start_date": "2026-11-26", "end_date": "2026-11-27", "page_size": "100"}
        headers = {"Authorization": f"Bearer {KEY}"}
        answer = httpx.get(f"{server.url}/spend/logs/v2", params=day, headers=headers).json()
        assert answer["total"] == len(captures.callbacks(version))
        assert server.table.lost == answer["total"]
        assert httpx.get(f"{server.url}/spend/logs/v2", params=day).status_code == 401


def test_a_row_is_seen_when_it_is_written_and_only_the_newest_10_000_are_listed() -> None:
    now = [0.0]
    table = SpendLogTable(now=lambda: now[0], delay=8, cap=20)
    table.fill(captures.shown("1.110.2"))
    day = {"start_date": "2026-11-26", "end_date": "2026-11-27", "page_size": "10"}
    first = json.loads(captures.callbacks("1.110.2")[0])["endTime"]
    now[0] = first + 7
    assert table.answer("/spend/logs/v2", day).body["data"] == []
    now[0] = float("inf")
    paged = table.answer("/spend/logs/v2", {**day, "page": "4"}).body
    assert (paged["total"], paged["total_is_capped"], len(paged["data"])) == (20, True, 3)
    listed = table.answer("/spend/logs", {**day, "summarize": "false"})
    assert listed.headers == {"x-litellm-spend-logs-truncated": "true"}
    assert len(listed.body) == 20
