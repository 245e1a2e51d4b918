"""Money is counted in whole micro-dollars: sums of integers are exact, in Python and in any database."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

MICRO = 1_000_000


def charged(usd: Decimal) -> int:
    """Micro-dollars of a charge; a part of one counts as a whole one, so that nothing that costs is free."""
    return int((usd * MICRO).to_integral_value(ROUND_CEILING))


def kept(usd: Decimal) -> int:
    """Micro-dollars of a saving or a limit; a part of one does not count."""
    return int((usd * MICRO).to_integral_value(ROUND_FLOOR))


def usd_of_tokens(tokens: int, usd_per_mtok: Decimal) -> Decimal:
    """Dollars of one charge for tokens, in whole micro-dollars."""
    return dollars(charged(tokens * usd_per_mtok / MICRO))


def dollars(micro: int) -> Decimal:
    """The same in dollars, exactly."""
    return Decimal(micro) / MICRO
