"""Which tiers can be asked this question? Those whose window it fits into, and that budgets leave."""

from collections.abc import Sequence

from ragsaver.components.cascade import Rung
from ragsaver.components.chat import ChatTier
from ragsaver.settings import ModelSettings
from ragsaver.spend.pacing import Pace, Service


def window_problem(model: ModelSettings, prompt_tokens: int) -> str | None:
    """Why a prompt is too long for a model; None if it fits.

    :param prompt_tokens: that it may have at most.
    """
    window, needed = model.context_tokens, prompt_tokens + model.max_output_tokens
    if window is None or needed <= window:
        return None
    return f"prompt and answer may take {needed} tokens, its window has {window}"


def rungs_of(tiers: Sequence[ChatTier], texts: Sequence[str], pace: Pace) -> list[Rung]:
    """The tiers, cheapest first, and why some can't be asked.

    :param texts: of the prompt.
    """
    only_small = pace.why if pace.service >= Service.SMALL else None

    def skipped(place: int, tier: ChatTier) -> str | None:
        bounded = tier.settings.context_tokens is not None
        too_long = window_problem(tier.settings, tier.tokens.most(texts)) if bounded else None
        return too_long or (only_small if place else None)

    return [Rung(tier.tier, skipped(place, tier)) for place, tier in enumerate(tiers)]
