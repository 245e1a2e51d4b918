"""What a million tokens cost, and so what a call does, before it is made and after it."""

from dataclasses import dataclass
from decimal import Decimal

from ragsaver.spend.usage import TokenUsage

MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars for a million tokens of each class, and who says so.

    :ivar version: of the book that it stands in.
    :ivar known: false where it is an upper bound.
    :ivar beyond: what all of a call's tokens cost where its prompt has more than so many, ascending.
    """

    model: str
    input_per_mtok: Decimal
    output_per_mtok: Decimal
    cached_input_per_mtok: Decimal
    origin: str
    cache_write_per_mtok: Decimal | None = None
    version: str = ""
    known: bool = True
    beyond: tuple[tuple[int, "Price"], ...] = ()

    def at(self, prompt_tokens: int) -> "Price":
        """The price of a call with a prompt of that length."""
        return next((price for more_than, price in reversed(self.beyond) if prompt_tokens > more_than), self)

    def worst(self, prompt_tokens: int, output_tokens: int) -> Decimal:
        """Dollars that a call costs at most, whichever class its prompt's tokens are in."""
        price = self.at(prompt_tokens)
        dearest = max(price.input_per_mtok, price.cached_input_per_mtok, price.cache_write_per_mtok or Decimal(0))
        return (prompt_tokens * dearest + output_tokens * price.output_per_mtok) / MILLION

    def of(self, usage: TokenUsage) -> Decimal:
        """Dollars for a call; reasoning costs what the answer does."""
        price = self.at(usage.fresh + usage.cache_read + usage.cache_write)
        write = price.input_per_mtok if price.cache_write_per_mtok is None else price.cache_write_per_mtok
        rest = price.cost(input=usage.fresh, cached_input=usage.cache_read, output=usage.answered)
        return rest + usage.cache_write * write / MILLION

    def cost(self, *, input: int = 0, cached_input: int = 0, output: int = 0) -> Decimal:
        """Dollars for tokens of any number of calls with short prompts; `cached_input` is not part of `input`."""
        return (
            input * self.input_per_mtok + cached_input * self.cached_input_per_mtok + output * self.output_per_mtok
        ) / MILLION
