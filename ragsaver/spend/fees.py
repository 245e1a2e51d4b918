"""What costs something and is no call of a language model: a reranker's look at passages, a question that is embedded.

Its price is known before it is made. It is reserved and settled as a call is, in the same budgets and in one step.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal

from ragsaver.errors import BudgetExceeded, FuseBlown, TooExpensive, UnknownPrice
from ragsaver.spend.budgets import Account, Hold
from ragsaver.spend.foreseeing import foresee
from ragsaver.spend.fuse import Fuses
from ragsaver.spend.ledger import NOTHING, UNKNOWN, Call, Charge, Lease, Ledger
from ragsaver.spend.money import charged, dollars
from ragsaver.spend.settling import Settling
from ragsaver.spend.usage import TokenUsage

# For what is paid for to end after its time was over, and to be settled.
GRACE_S = 60.0

# Why something that costs money is not done, as things stand.
REFUSALS = (BudgetExceeded, FuseBlown, TooExpensive, UnknownPrice)


@dataclass(frozen=True, slots=True)
class Fee:
    """Money that is kept back for one such thing."""

    lease: Lease
    settling: Settling

    def settle(self, outcome: str, usd: Decimal | None = None) -> Decimal:
        """Charge it, now that it is over; it never fails.

        :param outcome: `DONE`, `NOTHING` where nobody bills it, `UNKNOWN` where somebody may.
        :param usd: what it took; all that was held if None.
        :returns: dollars charged.
        """
        cost = self.lease.hold.cost if usd is None else charged(usd)
        if outcome == NOTHING:
            cost = 0
        self.settling.settle(self.lease, Charge(cost, TokenUsage(estimated=outcome == UNKNOWN), outcome))
        return dollars(cost)


class Fees:
    """Keeps such money back.

    :param ledger: gives the ledger.
    :param fuses: gives the fuse of each tenant.
    :param prices: gives the version of the price book.
    """

    def __init__(
        self,
        ledger: Callable[[], Ledger],
        fuses: Callable[[], Fuses],
        settling: Settling,
        prices: Callable[[], str],
    ) -> None:
        self._ledger = ledger
        self._fuses = fuses
        self._settling = settling
        self._prices = prices

    def reserve(self, account: Account, item: str, stage: str, usd: Decimal, lasts_s: float) -> Fee:
        """Keep back what something may cost; it may not be done without.

        :param item: who is paid.
        :param usd: at most.
        :param lasts_s: after which it is over.
        :raises BudgetExceeded: if a budget has no room for it.
        :raises FuseBlown: if its tenant spends far more than is usual.
        :raises TooExpensive: if the request's own ceiling has none.
        :raises StorageError: if the ledger can't be written: then nothing is spent.
        """
        self._settling.settle_late()
        self._fuses().check(account.tenant)
        call = Call("", item, stage, 0, self._prices())
        hold = Hold(charged(usd), 0)
        return Fee(self._ledger().reserve(account, call, hold, None, lasts_s + GRACE_S), self._settling)

    def foresee(self, account: Account, usd: Decimal) -> None:
        """Refuse what `reserve` would refuse as things stand; nothing is kept back."""
        self._fuses().check(account.tenant)
        foresee(self._ledger(), account, Hold(charged(usd), 0), None)


@dataclass(frozen=True, slots=True)
class Purse:
    """Whose money it is."""

    fees: Fees
    account: Account

    def reserve(self, item: str, stage: str, usd: Decimal, lasts_s: float) -> Fee:
        """As `Fees.reserve`."""
        return self.fees.reserve(self.account, item, stage, usd, lasts_s)

    def foresee(self, usd: Decimal) -> None:
        """As `Fees.foresee`."""
        self.fees.foresee(self.account, usd)

    def beside(self, stage: str) -> "Purse | None":
        """For what is done when the request's receipt is closed: the same money, as a request of its own. None where
        the request has a ceiling, which nothing may be added to any more.
        """
        if self.account.most is not None:
            return None
        return replace(self, account=replace(self.account, request_id=f"{stage}_{uuid.uuid4().hex}"))
