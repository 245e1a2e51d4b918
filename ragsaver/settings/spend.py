"""Prices and budgets."""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ragsaver.settings.section import Section

# Beyond it a call's price is no number that a database holds.
_MOST_PER_MTOK = 1_000_000
_LEAST_PER_S, _MOST_PER_S = Decimal("0.001"), 1_000_000_000


def usd_per_mtok(gpu_hour_usd: Decimal, tokens_per_s: Decimal) -> Decimal:
    """Dollars for a million tokens where GPUs do so many in a second, rounded up to a micro-dollar."""
    micro = Fraction(gpu_hour_usd) * 10**12 / (3600 * Fraction(tokens_per_s))
    return Decimal(math.ceil(micro)) / 10**6


class PriceSettings(Section):
    """Dollars for a million tokens, or for an hour of GPUs of your own; overrides the price list."""

    input_per_mtok: Decimal | None = Field(default=None, ge=0, le=_MOST_PER_MTOK, description="for tokens sent")
    output_per_mtok: Decimal | None = Field(default=None, ge=0, le=_MOST_PER_MTOK, description="for tokens answered")
    cached_input_per_mtok: Decimal | None = Field(
        default=None,
        ge=0,
        le=_MOST_PER_MTOK,
        description="for tokens that the provider had cached; default: as tokens sent",
    )
    cache_write_per_mtok: Decimal | None = Field(
        default=None,
        ge=0,
        le=_MOST_PER_MTOK,
        description="for tokens that the provider was to cache; default: as tokens sent",
    )
    gpu_hour_usd: Decimal | None = Field(
        default=None,
        gt=0,
        le=1_000_000,
        description="for an hour of all GPUs that serve the model, in place of all prices above",
    )
    input_tokens_per_s: Decimal | None = Field(
        default=None,
        ge=_LEAST_PER_S,
        le=_MOST_PER_S,
        description="that they read, of all requests together, while they write nothing",
    )
    output_tokens_per_s: Decimal | None = Field(
        default=None,
        ge=_LEAST_PER_S,
        le=_MOST_PER_S,
        description="that they write, for all requests together, while they read nothing",
    )

    @model_validator(mode="after")
    def _priced_in_one_way(self) -> Self:
        by_hour = (self.gpu_hour_usd, self.input_tokens_per_s, self.output_tokens_per_s)
        by_token = (self.input_per_mtok, self.output_per_mtok)
        others = (self.cached_input_per_mtok, self.cache_write_per_mtok)
        if by_hour == (None, None, None):
            if None in by_token:
                raise ValueError(
                    "needs input_per_mtok and output_per_mtok, or gpu_hour_usd with input_tokens_per_s and "
                    "output_tokens_per_s"
                )
        elif any(price is not None for price in by_token + others):
            raise ValueError("takes prices for a million tokens, or gpu_hour_usd with tokens per second, not both")
        elif None in by_hour:
            raise ValueError("gpu_hour_usd, input_tokens_per_s and output_tokens_per_s are needed together")
        return self


class BudgetSettings(Section):
    """What may be spent on answers and searches by whom in a calendar period (UTC). It is never passed."""

    scope: Literal["total", "tenant", "principal", "pipeline"] = Field(description="who spends")
    name: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="of the tenant or pipeline; of a principal `TENANT/PRINCIPAL`; default: each has as much",
    )
    period: Literal["hour", "day", "month"] = Field(description="after which it begins anew")
    limit_usd: Decimal = Field(ge=0, le=1_000_000_000, description="dollars in one period")

    @model_validator(mode="after")
    def _total_has_no_name(self) -> Self:
        if self.scope == "total" and self.name is not None:
            raise ValueError("a budget of scope total takes no name")
        return self

    @model_validator(mode="after")
    def _a_principal_is_one_of_a_tenant(self) -> Self:
        if self.scope == "principal" and self.name is not None and "/" not in self.name:
            raise ValueError(f"`name` of a principal is `TENANT/PRINCIPAL`: `{self.name}` would be nobody")
        return self


_Bound = Annotated[float, Field(gt=0, le=1)]


class PacingSettings(Section):
    """What is given up as a budget is used up faster than its period passes. Bounds are pressures, 0 to 1; a rung whose
    bound is null is left out.
    """

    enabled: bool = Field(default=True, description="without it a budget is full service until it is used up")
    slack: float = Field(
        default=0.1, ge=0, lt=1, description="share of a budget that may go at once when its period begins"
    )
    no_rerank_from: _Bound | None = Field(
        default=0.2, description="from which a reranker that costs money is not asked"
    )
    no_escalation_from: _Bound | None = Field(
        default=0.3, description="from which no answer that fails its check goes to a dearer model"
    )
    small_from: _Bound | None = Field(
        default=0.5,
        description="from which only the cheapest model is asked; till then the share of questions that begin with "
        "a dearer one falls to none",
    )
    extractive_from: _Bound | None = Field(default=0.8, description="from which no model is asked")
    cached_from: _Bound | None = Field(default=0.95, description="from which only answers that are cached are given")
    refused_from: _Bound | None = Field(default=1.0, description="from which none are: 1 is a budget that is used up")

    @model_validator(mode="after")
    def _the_ladder_goes_down(self) -> Self:
        ladder = (self.no_rerank_from, self.small_from, self.extractive_from, self.cached_from, self.refused_from)
        bounds = [bound for bound in ladder if bound is not None]
        if bounds != sorted(bounds):
            raise ValueError("each rung's bound must be at least the one before it")
        return self


class FuseSettings(Section):
    """Stops a tenant's calls for a while when its last minutes cost far more than is usual for it."""

    enabled: bool = Field(default=True, description="stop loops and runaways before they use up a budget")
    times: float = Field(default=10.0, ge=1, le=10_000, description="what is usual, beyond which a tenant's fuse blows")
    floor_usd: Decimal = Field(
        default=Decimal(5), gt=0, le=1_000_000_000, description="dollars that a window may always cost"
    )
    window_s: int = Field(default=300, ge=10, le=3600, description="that is compared with what is usual")
    pause_s: int = Field(
        default=300,
        ge=10,
        le=86_400,
        description="for which nothing is called; then a tenth of the limit or twice the usual tries if it is over",
    )


class SpendSettings(Section):
    """Prices, budgets, and what savings are compared with."""

    prices: dict[str, PriceSettings] = Field(
        default_factory=dict, description="by model name; they win over the price list"
    )
    unknown_price: Literal["upper_bound", "refuse"] = Field(
        default="upper_bound",
        description="of a model that is on no price list: it costs `upper_price`, or it is not asked",
    )
    upper_price: PriceSettings | None = Field(
        default=None, description="of such a model; default: of the dearest on the price list"
    )
    budgets: list[BudgetSettings] = Field(
        default_factory=list, description="one that has a name goes before one of the same scope and period without"
    )
    pacing: PacingSettings = PacingSettings()
    fuse: FuseSettings = FuseSettings()
    prompt_margin: float = Field(
        default=0.25,
        ge=0,
        le=10,
        description="share by which an endpoint may count more tokens of a prompt than the shipped tokenizer",
    )
    hold_quantile: float = Field(
        default=0.99,
        gt=0.5,
        lt=1,
        description="of a model's answers that are no longer than a call may be where a budget is short",
    )
    embedding_per_mtok: Decimal = Field(
        default=Decimal(0), ge=0, description="dollars for embedding a million tokens; 0 on a machine of your own"
    )
    embedding_gpu_hour_usd: Decimal | None = Field(
        default=None, gt=0, le=1_000_000, description="dollars for an hour of a GPU that embeds, in place of that"
    )
    embedding_tokens_per_s: Decimal | None = Field(
        default=None, ge=_LEAST_PER_S, le=_MOST_PER_S, description="that this GPU embeds"
    )
    storage_per_gb_month: Decimal = Field(
        default=Decimal(0), ge=0, description="dollars for keeping a GB of vectors and payload for a month"
    )
    baseline_model: str | None = Field(
        default=None, description="the model that savings are priced against; default: the largest configured"
    )
    baseline_passages: int = Field(default=10, ge=1, le=100, description="whole passages that the baseline sends")

    @model_validator(mode="after")
    def _no_budget_hides_another(self) -> Self:
        seen: set[tuple[str, str | None, str]] = set()
        for budget in self.budgets:
            key = (budget.scope, budget.name, budget.period)
            if key in seen:
                of = f"{budget.scope} {budget.name}" if budget.name else budget.scope
                raise ValueError(f"`budgets` has two limits of {of} per {budget.period}: only one could hold")
            seen.add(key)
        return self

    @model_validator(mode="after")
    def _what_nobody_knows_costs_something(self) -> Self:
        upper = self.upper_price
        if upper is not None and upper.gpu_hour_usd is None and not (upper.input_per_mtok or upper.output_per_mtok):
            raise ValueError("`upper_price` is 0: a model without a price would be free; name it in `prices` if it is")
        return self

    @model_validator(mode="after")
    def _embedding_is_priced_in_one_way(self) -> Self:
        hour, rate = self.embedding_gpu_hour_usd, self.embedding_tokens_per_s
        if hour is None and rate is None:
            return self
        if hour is None or rate is None:
            raise ValueError("embedding_gpu_hour_usd and embedding_tokens_per_s are needed together")
        price = usd_per_mtok(hour, rate)
        # the same price is what settings say that were written out and are read again
        if "embedding_per_mtok" in self.model_fields_set and self.embedding_per_mtok != price:
            raise ValueError("takes embedding_per_mtok, or embedding_gpu_hour_usd with tokens per second, not both")
        object.__setattr__(self, "embedding_per_mtok", price)  # the only place that knows both
        return self
