"""How much is held for a call, as settings: the spend guard and `billing estimate` inherit them."""

from datetime import timedelta
from decimal import Decimal

from pydantic import Field

from charging.estimate import Terms
from charging.learning import Learning
from charging.settings import Markup


class EstimateRules(Markup):
    """From what the rates of a model are learned, and what counts where they are not known."""

    estimated_usd_per_1k_tokens: Decimal = Field(
        default=Decimal("0.06"),
        ge=0,
        le=1_000,
        max_digits=12,
        description="Price of a thousand tokens, of prompt or answer, US dollars: of a model of "
        "which too few calls are known and of which nobody knows a price.",
    )
    estimated_answer_tokens: int = Field(
        default=4_096,
        ge=0,
        le=10_000_000,
        description="Length of an answer, tokens: where the client sets no limit, of a model of "
        "which too few calls are known.",
    )
    estimate_quantile: Decimal = Field(
        default=Decimal("0.995"),
        ge=Decimal("0.5"),
        le=1,
        max_digits=8,
        description="Share of the known calls of a model that what is held would have covered. "
        "More of it holds more for every call.",
    )
    estimate_days: int = Field(
        default=7, ge=1, le=366, description="How far back calls are learned from, days."
    )
    estimate_calls: int = Field(
        default=2_000,
        ge=1,
        le=100_000,
        description="Most calls that a model's rates are learned from: the newest.",
    )
    estimate_fewest_calls: int = Field(
        default=100,
        ge=1,
        description="Fewest calls that a model's rates are learned from; with fewer, the price "
        "counts that LiteLLM knows, and without one ESTIMATED_USD_PER_1K_TOKENS.",
    )

    @property
    def learning(self) -> Learning:
        """What the learning of rates goes by."""
        return Learning(self.estimate_quantile, self.estimate_fewest_calls)

    @property
    def estimate_window(self) -> timedelta:
        """How far back calls are learned from."""
        return timedelta(days=self.estimate_days)

    @property
    def terms(self) -> Terms:
        """What an estimate needs beside the rates."""
        return Terms(
            self.billing_markup, self.estimated_usd_per_1k_tokens, self.estimated_answer_tokens
        )
