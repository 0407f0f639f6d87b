"""Price tables: the pinned extract of LiteLLM's, or LiteLLM's own file. US dollars a token."""

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

import msgspec

PINNED: Final = Path(__file__).with_name("table.json")
PRICE: Final = re.compile(
    r"(?P<name>input_cost_per_token|output_cost_per_token|cache_read_input_token_cost"
    r"|cache_creation_input_token_cost)(_above_(?P<thousand>\d{1,6})k_tokens)?"
    r"|output_cost_per_reasoning_token|litellm_provider"
)
"""The fields of LiteLLM's table that are read."""
_MOST: Final = Decimal(1)
"""US dollars; no token costs as much."""


class TableError(Exception):
    """A file is no price table; the text says why."""


class Prices(msgspec.Struct, frozen=True):
    """What a token costs; None where the table does not say."""

    input: Decimal
    output: Decimal
    cache_read: Decimal | None
    cache_write: Decimal | None
    reasoning: Decimal | None


class Entry(msgspec.Struct, frozen=True):
    """A model of the table. `above` are prices of calls with more prompt tokens than a number."""

    name: str
    provider: str
    plain: Prices
    above: tuple[tuple[int, Prices], ...]

    def prices(self, tokens_in: int) -> Prices:
        """Return the prices of a call with so many prompt tokens."""
        fitting = [prices for least, prices in self.above if tokens_in > least]
        return fitting[-1] if fitting else self.plain


class Table:
    """The models of a table, by LiteLLM's names. `origin` says which table it is."""

    def __init__(self, origin: str, entries: Mapping[str, Entry]) -> None:
        self.origin = origin
        self._entries = entries

    def find(self, provider: str | None, model: str | None) -> Entry | None:
        """Return the entry of a model; None where the table has none of this provider."""
        for name in _names(provider, model):
            entry = self._entries.get(name)
            if entry and (provider is None or _same(entry.provider, provider)):
                return entry
        return None


def _names(provider: str | None, model: str | None) -> Iterator[str]:
    """Yield how LiteLLM may call a model: `openai/gpt-5` is `gpt-5` in its table."""
    if not model:
        return
    yield model
    if provider:
        yield f"{provider}/{model}"
        for before in ("", f"{provider}/"):
            rest = model
            while "/" in rest:
                rest = rest.partition("/")[2]
                yield f"{before}{rest}"


def _same(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def load(path: Path | None = None) -> Table:
    """Return the pinned table, or that of a file. Raises `TableError`."""
    try:
        found = json.loads((path or PINNED).read_text("utf-8"), parse_float=Decimal)
    except (OSError, ValueError, RecursionError, ArithmeticError) as error:
        raise TableError(f"{path}: it is no price table: {error}") from None
    if not isinstance(found, dict):
        raise TableError(f"{path}: it is no price table: an object was expected")
    models = found.get("models", found)
    if not isinstance(models, dict):
        raise TableError(f"{path}: it is no price table: an object of models was expected")
    entries = {name: entry for name, one in models.items() if (entry := _entry(name, one))}
    if not entries:
        raise TableError(f"{path}: it is no price table: no model has a price for a token")
    if path is None:
        return Table(f"LiteLLM {found['litellm']}, published {found['published']}", entries)
    return Table(str(path), entries)


def _entry(name: str, told: Any) -> Entry | None:  # noqa: ANN401 - JSON
    """Return a model's entry; None for one without a price for each token."""
    if not isinstance(told, dict):
        return None
    amounts: dict[tuple[str, int], Decimal] = {}
    for key, value in told.items():
        match = PRICE.fullmatch(key)
        amount = _amount(value)
        if match and amount is not None:
            thousand = match["thousand"]
            amounts[match["name"] or key, int(thousand) * 1_000 if thousand else 0] = amount
    plain = _prices(amounts, 0)
    if plain is None or not plain.input:
        return None
    levels = sorted({level for _, level in amounts if level})
    above = tuple((level, _prices(amounts, level) or plain) for level in levels)
    return Entry(name, str(told.get("litellm_provider") or ""), plain, above)


def _prices(amounts: Mapping[tuple[str, int], Decimal], level: int) -> Prices | None:
    def at(name: str) -> Decimal | None:
        return amounts.get((name, level), amounts.get((name, 0)))

    input_ = at("input_cost_per_token")
    if input_ is None:
        return None
    return Prices(
        input=input_,
        output=at("output_cost_per_token") or Decimal(0),
        cache_read=at("cache_read_input_token_cost"),
        cache_write=at("cache_creation_input_token_cost"),
        reasoning=at("output_cost_per_reasoning_token"),
    )


def _amount(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    try:
        amount = Decimal(value)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and 0 <= amount < _MOST else None
