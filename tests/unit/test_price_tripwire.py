"""Receipts computed again: what the table allows, exactly, and what it does not know."""

import json
import tomllib
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging.charge import COST_SOURCE
from charging.outcomes import Charge
from docs.price_table import extract, locked, packages, written
from ledger.counted_receipts import CountedReceipt
from reconciler.bills.drift import Tolerance
from reconciler.prices.table import PINNED, Entry, Prices, Table, TableError, load
from reconciler.prices.tripwire import BY_HAND, NO_TOKENS, Line, Tripwire, Verdict, computed
from schemas.receipt import Receipt
from tests.inputs import captures
from tests.inputs.callbacks import decided

ROOT = Path(__file__).parents[2]
EXACT = Tolerance(Decimal(0), Decimal(0))


def receipt(
    cost: str,
    tokens: tuple[int | None, int | None] = (100, 10),
    cached: int | None = None,
    reasoning: int | None = None,
    **other: object,
) -> CountedReceipt:
    """A receipt of a model."""
    fields = {
        "call_key": "call-1",
        "provider": "openai",
        "model": "openai/gpt-5",
        "charge_reason": "usage",
        "cost_source": COST_SOURCE,
        **other,
    }
    return CountedReceipt(
        **{name: str(value) for name, value in fields.items()},
        tokens_in=tokens[0],
        tokens_out=tokens[1],
        tokens_cached_in=cached,
        tokens_reasoning=reasoning,
        cost_usd=Decimal(cost),
    )


def prices(
    read: str | None = None, write: str | None = None, reasoning: str | None = None
) -> Prices:
    """Prices of 2 and 3 thousandths of a dollar."""
    return Prices(
        input=Decimal("0.002"),
        output=Decimal("0.003"),
        cache_read=Decimal(read) if read else None,
        cache_write=Decimal(write) if write else None,
        reasoning=Decimal(reasoning) if reasoning else None,
    )


def table(entry: Prices, above: tuple[tuple[int, Prices], ...] = ()) -> Table:
    """A table of one model."""
    return Table("made up", {"gpt-5": Entry("gpt-5", "openai", entry, above)})


def checked(known: Table, *receipts: CountedReceipt, tolerance: Tolerance = EXACT) -> list[Line]:
    """What the tripwire makes of receipts."""
    tripwire = Tripwire(known, tolerance)
    tripwire.add(receipts)
    return tripwire.lines()


@pytest.mark.parametrize(
    ("entry", "call", "least", "most"),
    [
        (prices(), receipt("0"), "0.23", "0.23"),
        (prices(read="0.0002"), receipt("0", cached=40), "0.158", "0.158"),
        (prices(write="0.0025"), receipt("0"), "0.23", "0.28"),
        (prices(read="0.0002", write="0.0025"), receipt("0", cached=40), "0.158", "0.188"),
        (prices(), receipt("0", cached=40), "0.15", "0.23"),
        (prices(read="0.0002"), receipt("0", cached=140), "0.258", "0.258"),
        (prices(reasoning="0.004"), receipt("0", reasoning=6), "0.236", "0.236"),
        (prices(reasoning="0.004"), receipt("0", reasoning=16), "0.24", "0.24"),
        (prices(), receipt("0", reasoning=6), "0.23", "0.23"),
        (prices(), receipt("0", (None, 10)), "0.03", "0.03"),
        (prices(), receipt("0", (100, None)), "0.2", "0.2"),
    ],
)
def test_what_tokens_cost_is_exact_and_cache_writes_lie_between(
    entry: Prices, call: CountedReceipt, least: str, most: str
) -> None:
    found = computed(call, Entry("gpt-5", "openai", entry, ()))
    assert found == (Decimal(least), Decimal(most))


def test_long_prompts_have_their_prices() -> None:
    dearer = Prices(Decimal(1), Decimal(2), None, None, None)
    entry = Entry("m", "openai", prices(), ((1_000, dearer), (2_000, prices())))
    assert entry.prices(1_000) == entry.prices(2_001) == prices()
    assert entry.prices(1_001) == entry.prices(2_000) == dearer


def test_one_digit_too_many_is_a_drift_and_dear_calls_do_not_hide_cheap_ones() -> None:
    known = table(prices())
    [right] = checked(known, receipt("0.23"), receipt("0.23"))
    assert (right.verdict, right.off, right.said_usd) == (Verdict.AGREES, 0, Decimal("0.46"))
    assert (right.least_usd, right.most_usd) == (Decimal("0.46"), Decimal("0.46"))
    [odd] = checked(known, receipt("0.23000000000000000000000000000000001"))
    assert (odd.verdict, odd.off_usd) == (Verdict.DRIFTS, Decimal("1E-35"))
    [both] = checked(known, receipt("0.46", call_key="dear"), receipt("0.0"), receipt("0.23"))
    assert (both.said_usd, both.most_usd) == (Decimal("0.69"), Decimal("0.69"))
    assert (both.verdict, both.off, both.off_usd) == (Verdict.DRIFTS, 2, Decimal("0.46"))
    assert both.example == "dear"


def test_a_difference_keeps_more_digits_than_a_decimal_usually_has() -> None:
    price = Prices(Decimal("0.0012345678901234567"), Decimal(0), None, None, None)
    tokens = 12_345_678_901_234_567
    exact = tokens * Fraction("0.0012345678901234567")
    said = Decimal("15241578753238.8345526596755677490")
    assert Fraction(said) - exact == Fraction("1e-19")
    [line] = checked(table(price), receipt(str(said), (tokens, 0)))
    assert line.off_usd == Decimal("1e-19")


def test_tolerances_are_of_a_receipt_in_percent_and_of_a_model_in_dollars() -> None:
    known = table(prices())
    percent = Tolerance(Decimal(10), Decimal(0))
    within, beyond = receipt("0.253"), receipt("0.2530001")
    assert checked(known, within, tolerance=percent)[0].off == 0
    assert checked(known, beyond, tolerance=percent)[0].verdict is Verdict.DRIFTS
    dollars = Tolerance(Decimal(0), Decimal("0.046"))
    assert checked(known, within, within, tolerance=dollars)[0].verdict is Verdict.AGREES
    assert checked(known, within, beyond, tolerance=dollars)[0].verdict is Verdict.DRIFTS


def test_a_model_that_the_table_does_not_know_is_unknown_and_not_right() -> None:
    known = table(prices())
    others = [
        receipt("5", model="gpt-6"),
        receipt("5", provider="hosted_vllm"),
        receipt("5", model="my-gpt-5"),
    ]
    found = checked(known, *others)
    assert {(line.verdict, line.least_usd, line.most_usd) for line in found} == {
        (Verdict.UNKNOWN, None, None)
    }
    assert len(found) == 3


def test_receipts_that_say_nothing_of_prices_are_counted() -> None:
    tripwire = Tripwire(table(prices()), EXACT)
    tripwire.add(
        [
            receipt("9", cost_source="operator"),
            receipt("0", charge_reason="cache_hit"),
            receipt("0", charge_reason="free_model"),
            receipt("9", (None, None)),
            receipt("9", (0, 0)),
        ]
    )
    assert tripwire.lines() == []
    assert tripwire.left_out == {
        BY_HAND: 1,
        "answered from LiteLLM's cache, which costs nothing": 1,
        "free by BILLING_FREE_MODELS": 1,
        NO_TOKENS: 2,
    }


@pytest.mark.parametrize(
    ("provider", "model", "entry"),
    [
        ("openai", "openai/gpt-4o-mini", "gpt-4o-mini"),
        ("openai", "gpt-4o-mini", "gpt-4o-mini"),
        ("azure", "azure/gpt-4o", "azure/gpt-4o"),
        ("azure", "gpt-4o", "azure/gpt-4o"),
        ("anthropic", "anthropic/claude-sonnet-4-5", "claude-sonnet-4-5"),
        ("gemini", "gemini-2.5-pro", "gemini/gemini-2.5-pro"),
        ("vertex_ai", "vertex_ai/gemini-2.5-pro", "gemini-2.5-pro"),
        ("bedrock", "bedrock/converse/amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0"),
        ("hosted_vllm", "gpt-4o-mini", None),
        ("openai", None, None),
        ("openai", "", None),
        (None, "gpt-4o-mini", "gpt-4o-mini"),
    ],
)
def test_models_are_found_in_the_pinned_table_by_litellms_names(
    provider: str | None, model: str | None, entry: str | None
) -> None:
    found = load().find(provider, model)
    assert (found and found.name) == entry


def test_what_real_proxies_said_is_what_the_table_says_but_for_one_with_a_tenth_more() -> None:
    tripwire = Tripwire(load(), Tolerance(Decimal("0.0001"), Decimal(0)))
    for file in captures.files():
        for raw in captures.elements(file):
            decision = decided(raw).decision
            if isinstance(decision, Charge):
                tripwire.add([_counted(decision.receipt, file)])
    found = tripwire.lines()
    assert [(line.example, line.off) for line in found if line.off] == [("excluded-fields.json", 1)]
    assert sum(line.receipts for line in found if line.verdict is not Verdict.UNKNOWN) > 50


def _counted(told: Receipt, call_key: str) -> CountedReceipt:
    return receipt(
        str(told.response_cost_usd),
        (told.tokens_in, told.tokens_out),
        told.tokens_cached_in,
        told.tokens_reasoning,
        call_key=call_key,
        provider=told.provider,
        model=told.provider_model,
        charge_reason=told.charge_reason,
        cost_source=told.cost_source,
    )


def test_a_price_has_the_digits_of_the_table() -> None:
    found = load().find("openai", "gpt-4o-mini")
    assert found
    assert found.plain.input == Decimal("1.5e-07")
    assert found.plain.output == Decimal("6e-07")


def test_the_pinned_table_is_of_the_litellm_that_is_locked() -> None:
    """After another version is locked: `python -m docs.price_table`."""
    pinned = json.loads(PINNED.read_text("utf-8"))
    assert (pinned["litellm"], pinned["published"]) == locked()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["dependency-groups"]["litellm"] == [f"litellm[proxy]=={pinned['litellm']}"]
    for package in packages():
        assert PINNED.read_text("utf-8") == written(extract(package, *locked())), package


def test_a_table_of_litellm_is_read_as_it_is_and_cut_to_an_extract(tmp_path: Path) -> None:
    own = {
        "sample_spec": {"mode": "chat", "input_cost_per_token": 0.1, "litellm_provider": "one of"},
        "gpt-5": {
            "mode": "chat",
            "litellm_provider": "openai",
            "input_cost_per_token": 1.25e-06,
            "output_cost_per_token": 1e-05,
            "input_cost_per_token_above_200k_tokens": 2.5e-06,
            "input_cost_per_token_priority": 9e-06,
        },
        "dall-e": {"mode": "image_generation", "litellm_provider": "openai"},
        "no-price": {"mode": "chat", "litellm_provider": "openai", "input_cost_per_token": 0},
    }
    package = tmp_path / "litellm"
    package.mkdir()
    path = package / "model_prices_and_context_window_backup.json"
    path.write_text(json.dumps(own))
    cut = extract(package, "1.0", "2026-11-01")
    assert list(cut["models"]) == ["gpt-5"]
    assert "input_cost_per_token_priority" not in cut["models"]["gpt-5"]
    (tmp_path / "cut.json").write_text(written(cut))
    read = [load(one).find("openai", "gpt-5") for one in (path, tmp_path / "cut.json")]
    assert read[0] == read[1]
    assert read[0]
    assert [level for level, _ in read[0].above] == [200_000]
    assert read[0].prices(200_001).output == Decimal("1e-05")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"{}", b'{"models": 7}', b'{"m": {"input_cost_per_token": "NaN"}}',
        b"\xff", b"[" * 100_000, b'{"m": {"input_cost_per_token": 1e999999999999999999}}',
        b'{"m": {"input_cost_per_token": -1}}', b'{"m": {"input_cost_per_token": 100}}',
    ],
)  # fmt: skip
def test_what_is_no_price_table_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "prices.json"
    path.write_bytes(content)
    with pytest.raises(TableError, match="no price table"):
        load(path)
    with pytest.raises(TableError, match="no price table"):
        load(tmp_path / "none")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["models", "m", "input_cost_per_token", "input_cost_per_token_above_1k_tokens"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(JSON)
def test_any_json_is_a_table_or_refused(
    tmp_path_factory: pytest.TempPathFactory, told: object
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(told))
    try:
        found = load(path)
    except TableError:
        return
    assert found.origin == str(path)


COUNTS = st.none() | st.integers(0, 2**62)


@given(st.tuples(COUNTS, COUNTS), COUNTS, COUNTS, st.sampled_from(["0.0002", "0.005", None]))
def test_whatever_tokens_a_client_made_up_the_least_is_no_more_than_the_most(
    tokens: tuple[int | None, int | None],
    cached: int | None,
    reasoning: int | None,
    write: str | None,
) -> None:
    entry = Entry("gpt-5", "openai", prices(write=write, reasoning="0.004"), ())
    least, most = computed(receipt("0", tokens, cached, reasoning), entry)
    assert 0 <= least <= most
