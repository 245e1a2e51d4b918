"""The receipt of one answer: what was spent and what was saved, line by line.

Two sums always hold: the lines' `cost_usd` add up to the receipt's `cost_usd`, and the lines' `saved_usd`
add up to `saved_usd`, which is `baseline_usd - cost_usd`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainSerializer

ZERO = Decimal(0)

# The stage of what embedding a question costs: the baseline embeds it too.
EMBED_QUERY = "embed_query"

Usd = Annotated[Decimal, PlainSerializer(float, return_type=float, when_used="json")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReceiptTokens(_Frozen):
    """Tokens billed by language models; `cached_input` is not part of `input`, `reasoning` is part of `output`.

    An ingestion's receipt does not tell what of its summaries' output was reasoning.
    """

    input: int = 0
    cached_input: int = 0
    output: int = 0
    reasoning: int = 0


class ReceiptLine(_Frozen):
    """One thing that was paid for or avoided."""

    stage: str
    item: str
    quantity: float
    unit: str
    cost_usd: Usd = ZERO
    saved_usd: Usd = ZERO
    reason: str = ""


class PricedBy(_Frozen):
    """The price book that charges were priced by.

    :ivar version: of the list, with its date and a hash of the operator's own prices.
    :ivar date: the newest day on which a price of the list changed, up to when it was asked.
    :ivar source: where its prices come from.
    """

    version: str
    date: str
    source: str


class Receipt(_Frozen):
    """What one answer cost, and what it would have cost by the baseline's rules.

    :ivar prices: None where nothing was priced.
    """

    cost_usd: Usd = ZERO
    baseline_usd: Usd = ZERO
    saved_usd: Usd = ZERO
    tokens: ReceiptTokens = ReceiptTokens()
    lines: tuple[ReceiptLine, ...] = ()
    prices: PricedBy | None = None


@dataclass(slots=True)
class OpenReceipt:
    """A receipt while its request runs. Stages add lines; nothing is ever taken off.

    `prices` is the book that they were priced by, and `paid` are those whose cost is in the ledger already. The four
    before that are what the baseline compares: the tokens of each retrieved passage (best first), of the context packed
    from them, of the whole prompt, and of the answer.
    """

    lines: list[ReceiptLine] = field(default_factory=list)
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    prices: PricedBy | None = None
    whole_passage_tokens: tuple[int, ...] = ()
    packed_tokens: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    paid: list[ReceiptLine] = field(default_factory=list)

    def add(
        self,
        stage: str,
        item: str,
        quantity: float,
        unit: str,
        *,
        cost_usd: Decimal = ZERO,
        saved_usd: Decimal = ZERO,
        reason: str = "",
        paid: bool = False,
    ) -> None:
        """Add one line.

        :param paid: whether its cost is in the ledger already.
        """
        line = ReceiptLine(
            stage=stage,
            item=item,
            quantity=quantity,
            unit=unit,
            cost_usd=cost_usd,
            saved_usd=saved_usd,
            reason=reason,
        )
        if paid:
            self.paid.append(line)
        self.lines.append(line)

    def take(self, other: "OpenReceipt") -> None:
        """Add another one's lines."""
        self.paid += other.paid
        self.lines += other.lines

    def unpaid(self) -> list[ReceiptLine]:
        """Lines whose cost is in no ledger yet."""
        paid = set(map(id, self.paid))
        return [line for line in self.lines if id(line) not in paid]

    def count(self, *, input: int = 0, cached_input: int = 0, output: int = 0, reasoning: int = 0) -> None:
        """Count tokens that a language model billed; `reasoning` is part of `output`."""
        self.input_tokens += input
        self.cached_input_tokens += cached_input
        self.output_tokens += output
        self.reasoning_tokens += reasoning

    def close(self) -> Receipt:
        """The receipt so far, summed."""
        cost = sum((line.cost_usd for line in self.lines), ZERO)
        saved = sum((line.saved_usd for line in self.lines), ZERO)
        return Receipt(
            cost_usd=cost,
            baseline_usd=cost + saved,
            saved_usd=saved,
            tokens=ReceiptTokens(
                input=self.input_tokens,
                cached_input=self.cached_input_tokens,
                output=self.output_tokens,
                reasoning=self.reasoning_tokens,
            ),
            lines=tuple(self.lines),
            prices=self.prices,
        )


_open: ContextVar[OpenReceipt | None] = ContextVar("ragsaver_receipt", default=None)


def current_receipt() -> OpenReceipt:
    """The running request's receipt; a fresh one that nobody reads where no request is running."""
    return _open.get() or OpenReceipt()


@contextmanager
def open_receipt() -> Iterator[OpenReceipt]:
    """Open a receipt for the code inside, threads and tasks it starts included."""
    receipt = OpenReceipt()
    token = _open.set(receipt)
    try:
        yield receipt
    finally:
        _open.reset(token)
