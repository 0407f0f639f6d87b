"""Kafka Connect is told of the records that it gets, and gets what the table has room for."""

import json
from decimal import Decimal
from itertools import islice

from tests.bench.connect import receipts
from tests.bench.connect_settings import AMOUNTS, columns, schema
from tests.bench.payloads import REDACTED, Payloads, receipts_among

COUNT = 100


def test_a_record_has_what_the_schema_says_and_the_table_has_room_for() -> None:
    fields = {field["field"]: field for field in schema()["fields"]}
    assert list(fields) == columns()
    for one in receipts(Payloads("connect", REDACTED), 10):
        said = json.loads(one.value, parse_float=Decimal)
        assert list(said) == columns()
        assert all(said[name] is not None or fields[name]["optional"] for name in said)
        assert all(isinstance(said[name], Decimal) for name in AMOUNTS)


def test_it_gets_the_receipts_and_no_deferrals() -> None:
    some = list(receipts(Payloads("connect", REDACTED), COUNT))
    assert len(some) == receipts_among(COUNT)
    (first,) = islice(some, 1)
    assert first.run_id == json.loads(first.value)["run_id"]
