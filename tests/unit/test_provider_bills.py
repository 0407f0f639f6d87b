"""Bills of providers: what kind each is, what is on it, and what of it cannot be read."""

import gzip
from collections import Counter
from collections.abc import Callable
from datetime import date
from decimal import Context, Decimal
from pathlib import Path

import pytest

from reconciler.bills.items import Beside, BillError, Charge, Item
from reconciler.bills.reading import Read, read_all
from tests.inputs.provider_bills import (
    EDITION,
    Charged,
    anthropic_console,
    anthropic_page,
    aws_legacy,
    aws_row,
    dumped,
    google_row,
    lines,
    openai_dashboard,
    openai_page,
    table,
)

DAY = "2026-11-03"
EXACT = Context(prec=100)
Reader = Callable[[bytes], tuple[Read, list[Item]]]


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """Reads bytes as the file of a bill."""

    def read(content: bytes) -> tuple[Read, list[Item]]:
        path = tmp_path / "bill"
        path.write_bytes(content)
        items: list[Item] = []
        return read_all([path], items.append), items

    return read


def charges(items: list[Item]) -> dict[str, str]:
    """The models of a bill of one day, and what was charged for each."""
    assert {item.day for item in items} == {date.fromisoformat(DAY)}
    found: dict[str, Decimal] = {}
    for item in items:
        if isinstance(item, Charge):
            found[item.model] = EXACT.add(found.get(item.model, Decimal(0)), item.amount)
    return {model: str(amount) for model, amount in found.items()}


def beside(items: list[Item]) -> dict[str, int]:
    """What is beside the use of models, and how often."""
    return dict(Counter(item.what for item in items if isinstance(item, Beside)))


OPENAI = [
    Charged("gpt-5-2025-08-07, input", DAY, "0.10000000000000000000000000000001"),
    Charged("gpt-5-2025-08-07, cached input", DAY, "0.2"),
    Charged("priority | gpt-5.6-sol, output, long context", DAY, "0.3"),
    Charged("gpt-audio-mini-2025-12-15 audio, input", DAY, "0.4"),
    Charged("text-embedding-3-small", DAY, "0.5"),
    Charged("web search tool calls", DAY, "0.6"),
]
OF_OPENAI = {
    "gpt-5-2025-08-07": "0.30000000000000000000000000000001",
    "gpt-5.6-sol": "0.3",
    "gpt-audio-mini-2025-12-15": "0.4",
    "text-embedding-3-small": "0.5",
}


@pytest.mark.parametrize(
    "content",
    [
        openai_dashboard([*OPENAI, Charged("", "2026-11-04", "")]),
        dumped(openai_page(OPENAI)),
        lines([openai_page(OPENAI[:2], more=True), openai_page(OPENAI[2:])]),
        dumped([openai_page(OPENAI[:2], more=True), openai_page(OPENAI[2:])]),
        gzip.compress(openai_dashboard(OPENAI)),
        b"\xef\xbb\xbf" + openai_dashboard(OPENAI).replace(b"\r\n", b"\n"),
    ],
    ids=["dashboard", "page", "pages on lines", "pages in a list", "gzip", "with a mark"],
)
def test_costs_of_openai_are_read_to_the_last_digit(reader: Reader, content: bytes) -> None:
    read, items = reader(content)
    assert read.format.name == "costs of OpenAI"
    assert read.unread == []
    assert charges(items) == OF_OPENAI
    assert beside(items) == {"web search tool calls": 1}


def test_a_report_of_anthropic_is_in_cents(reader: Reader) -> None:
    charged = [
        Charged("claude-sonnet-4-5-20250929", DAY, "1.2378912"),
        Charged("claude-sonnet-4-5-20250929", DAY, "2"),
        Charged("Web Search Usage", DAY, "0.1"),
    ]
    read, items = reader(dumped(anthropic_page(charged)))
    assert read.format.name == "cost report of Anthropic"
    assert charges(items) == {"claude-sonnet-4-5-20250929": "3.237891200"}
    assert beside(items) == {"Web Search Usage": 1}


def test_the_console_of_anthropic_is_in_dollars(reader: Reader) -> None:
    charged = [Charged("Claude Haiku 4.5", DAY, "0.05"), Charged("", DAY, "0.01")]
    read, items = reader(anthropic_console(charged))
    assert read.format.name == "costs of Anthropic's console"
    assert charges(items) == {"Claude Haiku 4.5": "0.05"}
    assert beside(items) == {"web_search": 1}


AWS = [
    aws_row(Charged("USE1-NovaLite-input-tokens", DAY, "0.0001")),
    aws_row(Charged("APN1-NovaLite-cache-read-input-token-count", DAY, "0.0002")),
    aws_row(Charged("USE1-Llama4-Maverick-17B-input-tokens-batch", DAY, "0.5")),
    aws_row(Charged("USE1-qwen.qwen3-32b-mantle-output-tokens-standard", DAY, "0.25")),
    aws_row(Charged("Claude Sonnet 4.5" + EDITION, DAY, "3")),
    aws_row(Charged("USE1-Guardrail-ContentPolicyUnitsConsumed", DAY, "0.1")),
    aws_row(Charged("USE1-NovaLite-input-tokens", DAY, "-7"), line_item_line_item_type="Credit"),
    aws_row(Charged("BoxUsage:t3.micro", DAY, "9"), line_item_product_code="AmazonEC2"),
]


@pytest.mark.parametrize("content", [table(AWS), aws_legacy(AWS)], ids=["2.0", "legacy"])
def test_bedrock_is_found_among_all_that_aws_charges(reader: Reader, content: bytes) -> None:
    read, items = reader(content)
    assert read.format.name == "Cost and Usage Report of AWS"
    assert read.unread == []
    assert charges(items) == {
        "NovaLite": "0.0003",
        "Llama4-Maverick-17B": "0.5",
        "qwen.qwen3-32b": "0.25",
        "Claude Sonnet 4.5": "3",
    }
    assert beside(items) == {
        "Bedrock: Guardrail-ContentPolicyUnitsConsumed": 1,
        "Credit of Bedrock": 1,
        "other services of AWS": 1,
    }


def test_a_model_that_aws_names_is_taken_before_one_in_a_usage_type(reader: Reader) -> None:
    row = aws_row(Charged("USE1-NovaLite-input-tokens", DAY, "1"), product='{"model": "Nova Lite"}')
    assert charges(reader(table([row]))[1]) == {"Nova Lite": "1"}


GOOGLE = [
    google_row(Charged("Gemini 2.5 Flash GA Text Input - Predictions", DAY, "0.1")),
    google_row(Charged("Gemini 2.5 Flash GA Thinking Text Output - Predictions", DAY, "8.9")),
    google_row(Charged(" Gemini 2.5 Flash GA Input Text Caching", DAY, "0.01")),
    google_row(Charged("Gemini 3.1 Flash Lite Global Text Input - Predictions", DAY, "0.2")),
    google_row(
        Charged("Gemini 2.5 Pro Text Output (Thinking On) - Predictions", DAY, "4"),
        credits=[{"name": "trial", "amount": Decimal(-4)}],
    ),
    google_row(Charged("Online Prediction N1 Instance Core", DAY, "2")),
    google_row(Charged("Gemini 2.5 Pro Text Input - Predictions", DAY, "1"), cost_type="tax"),
    google_row(Charged("Standard Storage", DAY, "3"), service={"description": "Cloud Storage"}),
]
OF_GOOGLE = {"Gemini 2.5 Flash": "9.01", "Gemini 3.1 Flash Lite": "0.2", "Gemini 2.5 Pro": "4"}
BESIDE_GOOGLE = {
    "Vertex AI: Online Prediction N1 Instance Core": 1,
    "other services of Google Cloud": 1,
    "tax of Vertex AI": 1,
}


@pytest.mark.parametrize("content", [dumped(GOOGLE), lines(GOOGLE)], ids=["a list", "on lines"])
def test_vertex_is_found_among_all_that_google_charges(reader: Reader, content: bytes) -> None:
    read, items = reader(content)
    assert read.format.name == "billing export of Google Cloud"
    assert read.unread == []
    assert charges(items) == OF_GOOGLE
    assert beside(items) == BESIDE_GOOGLE | {"credits of Vertex AI": 1}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_columns_of_google_may_stand_in_a_table(reader: Reader, delimiter: str) -> None:
    flat = [
        {
            "Service description": row["service"]["description"],
            "sku.description": row["sku"]["description"],
            "usage_start_time": row["usage_start_time"],
            "Cost": row["cost"],
            "currency": row["currency"],
            "cost_type": row["cost_type"],
        }
        for row in GOOGLE
    ]
    _, items = reader(table(flat, delimiter))
    assert charges(items) == OF_GOOGLE
    assert beside(items) == BESIDE_GOOGLE


GOOD = Charged("gpt-5, input", DAY, "1")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (Charged("gpt-5, input", "2026-11-04", "1,5"), "amount_value is '1,5', no amount"),
        (Charged("gpt-5, input", "2026-11-04", "NaN"), "amount_value is 'NaN', no amount"),
        (Charged("gpt-5, input", "2026-11-04", "1e400"), "amount_value is '1e400', no amount"),
        (Charged("gpt-5, input", "2026-11-04", "-1e15"), "amount_value is '-1e15', no amount"),
        (Charged("gpt-5, input", "2026-11-04", "\x1b[2J"), r"amount_value is '\x1b[2J', no amount"),
        (Charged("", "2026-11-04", "1"), "it names no line item: group the export by line_item"),
    ],
)
def test_a_line_that_cannot_be_read_is_told_with_its_place(
    reader: Reader, line: Charged, why: str
) -> None:
    read, items = reader(openai_dashboard([GOOD, line, GOOD]))
    assert read.unread == [("line 3", why)]
    assert read.lines == 3
    assert charges(items) == {"gpt-5": "2"}


def test_every_odd_part_of_an_answer_is_told(reader: Reader) -> None:
    page = openai_page([GOOD] * 6)
    page["data"][0] = 7
    page["data"][1] = {"start_time": 1, "results": "none"}
    page["data"][2]["results"] = [None, *page["data"][2]["results"]]
    page["data"][3]["start_time"] = "tomorrow"
    del page["data"][4]["results"][0]["amount"]
    read, items = reader(dumped(page))
    assert [where for where, _ in read.unread] == [
        "item 1, bucket 1",
        "item 1, bucket 2",
        "item 1, bucket 3, result 1",
        "item 1, bucket 4, result 1",
        "item 1, bucket 5, result 1",
    ]
    assert charges(items) == {"gpt-5": "2"}


def test_a_line_with_a_cell_too_many_is_told(reader: Reader) -> None:
    text = openai_dashboard([GOOD, GOOD]) + b"1,2,3\r\n\r\n"
    read, items = reader(text)
    assert read.unread == [("line 4", "it has 3 cells, and there are 9 names")]
    assert charges(items) == {"gpt-5": "2"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no line with a charge"),
        (b"\n\n", "holds no line with a charge"),
        (b"id,name\n1,someone\n", "no bill that is known: it has id, name"),
        (openai_dashboard([GOOD]) + b'"1,2', "line 3 is no CSV: unexpected end of data"),
        (b"start_time\n" + b"1" * 2_000_000, "line 2 is no CSV: field larger than field limit"),
        (b'{"hello": "world"}', "no bill that is known: it has hello"),
        (b"[]", "holds no line with a charge"),
        (b'{"data": []}', "holds no line with a charge"),
        (b"[7]", "holds no line with a charge; item 1: it is no object"),
        (b"{", "begins like JSON and is none"),
        (b"[" * 100_000, "begins like JSON and is none"),
        (b'{"cost": NaN}', "begins like JSON and is none"),
        (b"\xff\xfes\x00", "no text in UTF-8"),
        (b"\x1f\x8bno gzip", "cannot be read"),
        # Without mtime, the test's id has the second of its making, and workers find different ids.
        (gzip.compress(openai_dashboard([GOOD]), mtime=0)[:-9], "cannot be read"),
        (dumped(openai_page([GOOD], more=True)), "has_more: fetch the pages behind next_page"),
        (
            b'{"data": [{"start_time": 1, "results": [{"num_model_requests": 1}]}]}',
            "OpenAI's usage, which has tokens and no amounts: export the costs",
        ),
        (
            b'{"data": [{"starting_at": "", "results": [{"uncached_input_tokens": 1}]}]}',
            "Anthropic's usage report, which has tokens and no amounts: fetch the cost report",
        ),
        (b"usage_date_utc,model_version,usage_input_tokens_no_cache\n1,2,3\n", "export the costs"),
    ],
)
def test_what_is_no_bill_is_refused_with_what_to_do(
    reader: Reader, content: bytes, said: str
) -> None:
    with pytest.raises(BillError, match=said):
        reader(content)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BillError, match=r"cannot be read: .*No such file"):
        read_all([tmp_path / "none"], lambda _: None)


def test_parts_of_a_bill_are_one_bill_and_other_bills_are_told(tmp_path: Path) -> None:
    for name, content in {
        "1.csv": openai_dashboard([GOOD]),
        "2.csv": openai_dashboard([GOOD]),
        "3.csv": anthropic_console([Charged("Claude", DAY, "1")]),
    }.items():
        (tmp_path / name).write_bytes(content)
    items: list[Item] = []
    read = read_all(sorted(tmp_path.iterdir()), items.append)
    assert charges(items) == {"gpt-5": "2"}
    assert [where for where, _ in read.unread] == ["3.csv, line 2"]
