"""A bill against the books: which names mean one model, and which models and days drift."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.model_days import ModelDay
from reconciler.bills.drift import Bill, Line, Tolerance, Verdict, compared
from reconciler.bills.items import Beside, BillError, Charge, column_of
from reconciler.bills.names import Names, model_of
from reconciler.bills.reading import FORMATS, read_all
from runtime.rows import Listing, csv_text, json_text
from tests.inputs.provider_bills import dumped, lines, table

FIRST = date(2026, 11, 1)
EXACT = Tolerance(Decimal(0), Decimal(0))
OPENAI = ("openai",)


@pytest.mark.parametrize(
    ("bill", "ours"),
    [
        ("gpt-5-2025-08-07", "openai/gpt-5"),
        ("gpt-4.1-2025-04-14", "gpt-4.1"),
        ("Claude Sonnet 4.5", "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("Claude Sonnet 4.5", "anthropic/claude-sonnet-4-5"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5@20250929"),
        ("Claude3Sonnet", "anthropic.claude-3-sonnet-20240229-v1:0"),
        ("NovaLite", "bedrock/converse/amazon.nova-lite-v1:0"),
        ("Llama4-Maverick-17B", "us.meta.llama4-maverick-17b-v1:0"),
        ("qwen.qwen3-32b", "bedrock/qwen.qwen3-32b-v1:0"),
        ("Gemini 2.5 Flash", "vertex_ai/gemini-2.5-flash"),
        ("Gemini 2.5 Pro", "gemini/gemini-2.5-pro"),
    ],
)
def test_names_of_one_model_are_one(bill: str, ours: str) -> None:
    assert Names({}).of_bill(bill) == Names({}).of_ours(ours)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("gpt-4o", "gpt-4o-mini"),
        ("gpt-4.1", "gpt-4"),
        ("gemini-2.5-pro", "gemini-2.0-pro"),
        ("Claude Opus 4.1", "Claude Opus 4"),
        ("gemini-2.5-flash", "gemini-2.5-flash-lite"),
    ],
)
def test_names_of_two_models_are_two(one: str, other: str) -> None:
    assert model_of(one) != model_of(other)


def test_a_pair_that_a_person_names_goes_before_the_rule() -> None:
    names = Names({"Nova Lite ": "my/own-model-v1:0"})
    assert names.of_bill("nova lite") == names.of_ours("own-model") != model_of("nova lite")


@given(st.text())
def test_every_name_is_some_model(name: str) -> None:
    assert model_of(name) or not name.strip()


def held(
    model: str | None, cost: str, day: date = FIRST, provider: str | None = "openai"
) -> ModelDay:
    """Three calls of a model in the books."""
    return ModelDay(day, provider, model, 3, 1_000, Decimal(cost))


def billed(*charges: tuple[str, str], day: date = FIRST) -> Bill:
    """A bill of one day in US dollars."""
    bill = Bill(Names({}), {})
    for model, amount in charges:
        bill.add(Charge(model, day, Decimal(amount), "USD"))
    return bill


def verdicts(found: Sequence[Line]) -> dict[str, str]:
    """What became of each model."""
    return {line.model: str(line.verdict) for line in found}


def test_what_is_charged_and_what_is_said_are_put_side_by_side() -> None:
    bill = billed(("gpt-5-2025-08-07", "1.5"), ("gpt-5-2025-08-07", "0.5"), ("only-theirs", "1"))
    receipts = [held("openai/gpt-5", "0.5"), held("gpt-5", "0.25"), held("only-ours", "2")]
    found = compared(bill, receipts, [held("gpt-5", "0.1")], OPENAI, EXACT)
    assert verdicts(found) == {
        "gpt-5-2025-08-07": "drifts",
        "only-ours": "only in the ledger",
        "only-theirs": "only on the bill",
    }
    assert found[0] == Line(
        model="gpt-5-2025-08-07",
        day=FIRST,
        provider_usd=Decimal(2),
        ours_usd=Decimal("0.75"),
        difference_usd=Decimal("1.25"),
        ratio=Decimal("0.375"),
        receipts=6,
        deferred=3,
        deferred_tokens=1_000,
        deferred_usd=Decimal("0.1"),
        verdict=Verdict.DRIFTS,
    )
    assert [line.ratio for line in found] == [Decimal("0.375"), None, Decimal(0)]


@pytest.mark.parametrize(
    ("percent", "usd", "ours", "verdict"),
    [
        ("2", "0", "98", "agrees"),
        ("2", "0", "97.99999999999999999999999999999999", "drifts"),
        ("2", "0", "102", "agrees"),
        ("2", "0", "102.00000000000000000000000000000001", "drifts"),
        ("0", "0.5", "99.5", "agrees"),
        ("0", "0.5", "99.49", "drifts"),
        ("1", "5", "95", "agrees"),
        ("0", "0", "100", "agrees"),
    ],
)
def test_the_larger_tolerance_counts_to_the_last_digit(
    percent: str, usd: str, ours: str, verdict: str
) -> None:
    tolerance = Tolerance(Decimal(percent), Decimal(usd))
    found = compared(billed(("m", "100")), [held("m", ours)], [], OPENAI, tolerance)
    assert verdicts(found) == {"m": verdict}


def test_calls_of_other_providers_are_another_bills() -> None:
    receipts = [
        held("gpt-5", "1"),
        held("gpt-5", "50", provider="azure"),
        held("gpt-5", "2", provider=None),
        held("unknown", "9", provider=None),
        held(None, "0.5"),
    ]
    found = compared(billed(("gpt-5", "3")), receipts, [], OPENAI, EXACT)
    assert verdicts(found) == {"gpt-5": "agrees", "(no model named)": "only in the ledger"}


def test_another_currency_needs_a_rate_that_a_person_gives() -> None:
    bill = Bill(Names({}), {"EUR": Decimal("1.0843")})
    bill.add(Charge("m", FIRST, Decimal(830), "EUR"))
    bill.add(Beside("tax", FIRST, Decimal(10), "EUR"))
    assert bill.charged == {("m", FIRST): Decimal("899.969")}
    assert bill.beside["tax"].provider_usd == Decimal("10.843")
    bill.add(Charge("m", FIRST, Decimal(1), "GBP"))
    with pytest.raises(BillError, match=r"in GBP, .* --rate GBP="):
        bill.period()


def test_days_that_are_not_looked_at_are_counted() -> None:
    bill = Bill(Names({}), {}, first=date(2026, 11, 2), last=date(2026, 11, 3))
    for day in range(1, 6):
        bill.add(Charge("m", date(2026, 11, day), Decimal(1), "USD"))
    assert (len(bill.charged), bill.outside) == (2, 3)
    assert bill.period() == (date(2026, 11, 2), date(2026, 11, 3))


def test_a_bill_without_the_use_of_a_model_is_none() -> None:
    bill = Bill(Names({}), {})
    bill.add(Beside("other services of AWS", FIRST, Decimal(1), "USD"))
    with pytest.raises(BillError, match="no charge for the use of a model"):
        bill.period()


AMOUNTS = st.decimals(0, 1_000, places=9)
MODELS = st.sampled_from(["gpt-5", "gpt-5-mini", "gpt-4.1", "o3"])
DAYS = st.integers(0, 6).map(lambda days: FIRST + timedelta(days=days))


@given(
    st.lists(st.tuples(MODELS, DAYS, AMOUNTS), min_size=1),
    st.lists(st.tuples(MODELS, DAYS, AMOUNTS)),
)
def test_no_dollar_of_the_bill_or_of_the_books_is_lost(
    charges: list[tuple[str, date, Decimal]], said: list[tuple[str, date, Decimal]]
) -> None:
    bill = Bill(Names({}), {})
    for model, day, amount in charges:
        bill.add(Charge(model, day, amount, "USD"))
    receipts = [ModelDay(day, "openai", model, 1, 1, cost) for model, day, cost in said]
    found = compared(bill, receipts, [], OPENAI, EXACT)
    assert sum(Fraction(line.provider_usd) for line in found) == sum(
        Fraction(amount) for _, _, amount in charges
    )
    assert sum(Fraction(line.ours_usd) for line in found) == sum(Fraction(c) for _, _, c in said)
    assert all(line.provider_usd - line.ours_usd == line.difference_usd for line in found)
    agreeing = [line for line in found if line.verdict is Verdict.AGREES]
    assert all(not line.difference_usd for line in agreeing)
    assert all(line.difference_usd for line in found if line not in agreeing)


COLUMNS = sorted({column for one in FORMATS for column in one.columns} | {"product", "credits"})
TEXTS = st.text(max_size=30) | st.sampled_from(
    ["", "USD", "1.5", "-0", "2026-11-03", "1793664000", "Usage", "Vertex AI", "AmazonBedrock", "{"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def odd_rows(draw: st.DrawFn) -> list[dict[str, object]]:
    """Rows with all columns of one kind of export, and anything in them."""
    names = sorted(draw(st.sampled_from(FORMATS)).columns)
    row: st.SearchStrategy[dict[str, object]] = st.fixed_dictionaries(
        dict.fromkeys(names, VALUES), optional={"product": VALUES}
    )
    return draw(st.lists(row, min_size=1, max_size=5))


def files() -> st.SearchStrategy[bytes]:
    """Files that strangers hand in: bytes, texts, tables and JSON with the right names."""
    return st.one_of(
        st.binary(max_size=300),
        st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")),
        odd_rows().map(dumped),
        odd_rows().map(lines),
        odd_rows().map(lambda rows: table([{**dict.fromkeys(COLUMNS, ""), **row} for row in rows])),
        st.lists(VALUES, max_size=4).map(lambda found: dumped({"data": found})),
        odd_rows().map(lambda rows: dumped({"data": [{"results": rows}], "has_more": False})),
    )


def kept(content: bytes) -> Iterator[Charge | Beside]:
    """The items of a file that is read; nothing of one that is refused."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "bill"
        path.write_bytes(content)
        found: list[Charge | Beside] = []
        try:
            read = read_all([path], found.append)
        except BillError:
            return
    assert read.lines >= len(read.unread)
    assert all(where and why for where, why in read.unread)
    yield from found


@given(files())
def test_whatever_a_file_holds_it_is_read_told_or_refused(content: bytes) -> None:
    for item in kept(content):
        assert item.amount.is_finite()
        assert item.currency.isascii()
        told = [{"what": item.model if isinstance(item, Charge) else item.what}]
        # Whatever a stranger wrote can be printed.
        csv_text(Listing(("what",), told)).encode()
        json_text(told).encode()


@given(st.text())
def test_a_column_has_one_name_however_it_is_written(name: str) -> None:
    assert column_of(column_of(name)) == column_of(name)
    assert column_of(name).isascii()
