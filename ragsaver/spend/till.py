"""Where a model's call is paid for: the same numbers go on the running request's receipt and into the ledger.

Each attempt has a lease of its own. It ends in one of three ways: the endpoint said what it used, it did nothing, or
nobody knows; then it is charged all that it held.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace

from ragsaver.deadline import due, holding
from ragsaver.errors import StorageError, StorageLate, UnknownPrice
from ragsaver.settings import Settings
from ragsaver.spend.budgets import Account, Hold
from ragsaver.spend.fees import GRACE_S, Fees, Purse
from ragsaver.spend.foreseeing import foresee
from ragsaver.spend.fuse import Fuses
from ragsaver.spend.gathered import Gathered
from ragsaver.spend.kept_receipts import AGAIN_S, PATIENCE_S, KeptReceipts, Over
from ragsaver.spend.ledger import DONE, NOTHING, UNKNOWN, Call, Charge, Lease, Ledger, open_ledger
from ragsaver.spend.length_rows import Answered
from ragsaver.spend.money import charged, dollars
from ragsaver.spend.pacing import UNPRESSED, Pace, pace_of
from ragsaver.spend.prices import PriceBook
from ragsaver.spend.prompt_bound import AROUND_A_MESSAGE, prompt_bound
from ragsaver.spend.receipt import OpenReceipt, Receipt, ReceiptLine, current_receipt
from ragsaver.spend.settling import Settling
from ragsaver.spend.upper_charges import UpperCharges
from ragsaver.spend.usage import TokenUsage

# Of a receipt: its lines are in the ledger when it is kept, those of others that cost something are not.
STAGE = "generate"

# For which answers wait for each other before they are learned from; what was learned is read less often.
_LEARN_S = 1.0

# For which a reading of budgets is good, unless this process spends meanwhile.
_PACE_S = 1.0
_PACES = 10_000

_log = logging.getLogger(__name__)

_SAID = {
    DONE: "as the endpoint billed",
    NOTHING: "nothing was done",
    UNKNOWN: "at most: the endpoint did not say what it used",
}


_account: ContextVar[Account | None] = ContextVar("ragsaver_account", default=None)


@contextmanager
def on_account_of(account: Account) -> Iterator[None]:
    """Let somebody pay for calls inside that no request asks for."""
    token = _account.set(account)
    try:
        yield
    finally:
        _account.reset(token)


class Till:
    """Takes the money of a process.

    :param prices: of all models.
    :param count_tokens: by the shipped tokenizer.
    :param ledger: opened at the first call; the project's own if None.
    :ivar upper_charges: of models whose price nobody knows.
    """

    def __init__(
        self,
        settings: Settings,
        prices: PriceBook,
        count_tokens: Callable[[Sequence[str]], list[int]],
        ledger: Callable[[], Ledger] | None = None,
    ) -> None:
        self._wishes = settings.spend
        self._tenant = settings.tenant
        self._prices = prices
        self.upper_charges = UpperCharges()
        self._count = count_tokens
        self._open = ledger or (lambda: open_ledger(settings))
        self._ledger: Ledger | None = None
        self._fuses: Fuses | None = None
        self._opening = threading.Lock()
        self._receipts = KeptReceipts(self._charge_lines, _is_unpaid, self._keep_receipts)
        self._answers = Gathered(self._learn, _LEARN_S, "answers")
        self._paces: dict[tuple[str, str | None, str | None], Pace] = {}
        self._settling = Settling(lambda: self.ledger, self._paces.clear)
        self._fees = Fees(lambda: self.ledger, lambda: self.fuses, self._settling, lambda: prices.version)

    @property
    def ledger(self) -> Ledger:
        """The ledger; opened at its first use.

        :raises StorageError: if it can't be opened.
        """
        if self._ledger is not None:
            return self._ledger
        with holding(self._opening, _late):
            if self._ledger is None:
                self._ledger = self._open()
            return self._ledger

    @property
    def fuses(self) -> Fuses:
        """The fuse of each tenant."""
        ledger = self.ledger
        with self._opening:
            if self._fuses is None:
                self._fuses = Fuses(ledger, self._wishes.fuse)
            return self._fuses

    def nobody(self) -> Account:
        """The account of work that no request asked for: that of `on_account_of`, else of the settings' tenant."""
        return _account.get() or Account(self._tenant)

    @property
    def margin(self) -> float:
        """Share by which an endpoint may count more than the shipped tokenizer."""
        return self._wishes.prompt_margin

    @property
    def paces(self) -> bool:
        """Whether requests are served as budgets stand."""
        return bool(self._wishes.budgets) and self._wishes.pacing.enabled

    def pace(self, account: Account) -> Pace:
        """How to serve a request on this account. What other processes spent is known up to a second late; that no
        budget is passed is decided where money is reserved.
        """
        if not self.paces:
            return UNPRESSED
        key = (account.tenant, account.principal, account.pipeline)
        try:
            ledger = self.ledger
            now = ledger.clock()
            known = self._paces.get(key)
            if known is None or not known.at <= now < known.at + _PACE_S:
                standings, limits = ledger.standings(account)
                known = replace(pace_of(standings, limits, self._wishes.pacing, now), at=now)
                if len(self._paces) >= _PACES:
                    self._paces.clear()
                self._paces[key] = known
            return known
        except StorageError as error:
            # No model is called without a ledger; what is free needs none.
            _log.warning("how far budgets are used up is not known: %s", error)
            return UNPRESSED

    def bound(self, texts: Sequence[str], own: Callable[[Sequence[str]], list[int]] | None = None) -> int:
        """Tokens that an endpoint may count in a prompt of these texts.

        :param own: the model's own tokenizer, where it is there: what it counts has no margin but for what is around
            a message.
        """
        if own is not None:
            return sum(own(texts)) + AROUND_A_MESSAGE * len(texts)
        return prompt_bound(texts, self._count(texts), self._wishes.prompt_margin)

    def reserve(
        self, account: Account, *, tier: str, model: str, task: str, prompt_tokens: int, most: int, lasts_s: float
    ) -> Lease:
        """Keep back what an attempt may cost; nobody may call a model without. `hold.output_tokens` of the lease is
        what the endpoint has to be told as its limit.

        :param prompt_tokens: that its prompt has at most.
        :param most: tokens that its answer may have.
        :param lasts_s: after which it ends.
        :raises BudgetExceeded: if a budget has no room for it.
        :raises FuseBlown: if its tenant spends far more than is usual.
        :raises TooExpensive: if the request's own ceiling has none.
        :raises UnknownPrice: if nobody knows its price, and the settings want no guess.
        :raises StorageError: if the ledger can't be written: then nothing is spent.
        """
        self._settling.settle_late()
        call, whole, less = self._wanted(account, tier, model, task, prompt_tokens, most)
        return self.ledger.reserve(account, call, whole, less, lasts_s + GRACE_S)

    def foresee(self, account: Account, *, tier: str, model: str, task: str, prompt_tokens: int, most: int) -> None:
        """Refuse what `reserve` would refuse as things stand; nothing is kept back."""
        _, whole, less = self._wanted(account, tier, model, task, prompt_tokens, most)
        foresee(self.ledger, account, whole, less)

    def _wanted(
        self, account: Account, tier: str, model: str, task: str, prompt_tokens: int, most: int
    ) -> tuple[Call, Hold, Hold | None]:
        """A call, and what it would keep back: for the longest answer, and for one as long as most are."""
        price = self._prices.price(model, self.ledger.clock())
        if not price.known and self._wishes.unknown_price == "refuse":
            raise UnknownPrice(
                f"`{model}` is on no price list",
                where="spend.unknown_price",
                remedy="Set its price in `spend.prices`, or let it cost `spend.upper_price`",
            )
        self.fuses.check(account.tenant)
        learned = self.ledger.learned(model, task)
        prompt = learned.foreseen(prompt_tokens)

        def hold(output_tokens: int) -> Hold:
            return Hold(charged(price.worst(prompt, output_tokens)), output_tokens)

        clamp = learned.clamp(self._wishes.hold_quantile, most)
        less = hold(clamp) if clamp is not None and clamp < most else None
        call = Call(tier, model, task, prompt, price.version, learned.prompt_factor)
        return call, hold(most), less

    def settle(self, lease: Lease, outcome: str, usage: TokenUsage | None = None, *, cut: bool = False) -> Charge:
        """Charge an attempt that is over, on the receipt and in the ledger. It never fails: what can't be written now
        is written before the next attempt, and what no process writes any more expires.

        :param usage: what the endpoint said that it used; needed where the outcome is `DONE`.
        :param cut: whether the answer ended at its limit.
        """
        charge = self._charge(lease, outcome, usage)
        if charge.cost > lease.hold.cost:
            _tell_more(lease, charge)
        self._show(lease, charge)
        if self._settling.settle(lease, charge) and outcome == DONE:
            call = lease.call
            self._answers.give(
                Answered(call.model, call.task, call.prompt_tokens, call.prompt_factor, charge.usage, cut)
            )
        return charge

    def purse(self, account: Account) -> Purse:
        """An account's money, for what is no call of a language model."""
        return Purse(self._fees, account)

    def keep_receipt(
        self, account: Account, receipt: Receipt, *, complete: bool, paid: Collection[ReceiptLine] = ()
    ) -> None:
        """Keep the receipt of a request that is over, a moment later: nobody waits for it.

        :param complete: whether there was an answer.
        :param paid: those of its lines that are in the ledger already.
        """
        self._receipts.give(Over(account, receipt, complete, self._now(), paid=tuple(paid)))

    def receipt_is_open(self, tenant: str, request_id: str, principal: str | None) -> bool:
        """Whether a request's receipt is not in the ledger yet: it is given, or waits for one that can't be written.

        :param principal: whose; of any if None.
        """
        return self._receipts.is_open(tenant, request_id, principal)

    def receipts_apart(self) -> tuple[int, int]:
        """How many receipts wait for a ledger that can't be written, and how many were not kept for that."""
        return self._receipts.waiting, self._receipts.lost

    def charge_beside(self, account: Account, receipt: OpenReceipt) -> None:
        """Charge what lines cost whose receipt nobody keeps, on the same account, as requests of their own. It never
        fails: what can't be written now is written later.
        """
        for line in filter(_costs_more, receipt.unpaid()):
            beside = replace(account, request_id=f"{line.stage}_{uuid.uuid4().hex}")
            try:
                self.ledger.record(beside, self._bought(line), charged(line.cost_usd))
            except StorageError as error:
                _log.warning("%s USD for %s (%s) wait for the ledger: %s", line.cost_usd, line.item, line.stage, error)
                self._receipts.give(Over(beside, Receipt(lines=(line,)), False, self._now(), beside=True))

    def flush(self, within_s: float | None = None) -> bool:
        """Wait until all receipts that were given are kept, and all answers learned from; false if that takes longer.
        What waits for a ledger that can't be written is not waited for.
        """
        return self._receipts.flush(within_s) and self._answers.flush(within_s)

    def close(self) -> None:
        """Keep what was given to keep, settle what could not be, and let go of the ledger."""
        self._receipts.close()
        self._answers.close()
        with due(time.monotonic() + PATIENCE_S):
            self._settling.settle_late()
        if self._settling.waiting:
            _log.warning("%d charges are not settled: they expire at what they held", self._settling.waiting)
        with self._opening:
            if self._ledger is not None:
                self._ledger.close()

    def _charge_lines(self, over: Over) -> None:
        charges = {
            f"{over.id}-{number}": (self._bought(line), charged(line.cost_usd))
            for number, line in enumerate(_unpaid(over))
        }
        self.ledger.record_all(over.account, charges, over.at)

    def _bought(self, line: ReceiptLine) -> Call:
        return Call("", line.item, line.stage, 0, self._prices.version)

    def _keep_receipts(self, some: Sequence[Over]) -> None:
        self._settling.settle_late()
        self.ledger.keep_receipts(some)

    def _now(self) -> float:
        return time.time() if self._ledger is None else self._ledger.clock()

    def _learn(self, answers: Sequence[Answered]) -> None:
        try:
            with due(time.monotonic() + PATIENCE_S):
                self.ledger.learn(answers)
        except StorageError as error:
            _log.warning("%d answers' lengths are not learned from: %s", len(answers), error)

    def _charge(self, lease: Lease, outcome: str, usage: TokenUsage | None) -> Charge:
        if outcome == NOTHING:
            return Charge(0, TokenUsage(), NOTHING)
        if outcome == DONE and usage is not None:
            price = self._prices.price(lease.call.model, lease.reserved_at)
            return Charge(charged(price.of(usage)), usage, DONE)
        worst = TokenUsage(fresh=lease.call.prompt_tokens, output=lease.hold.output_tokens, estimated=True)
        return Charge(lease.hold.cost, worst, UNKNOWN)

    def _show(self, lease: Lease, charge: Charge) -> None:
        usage, receipt = charge.usage, current_receipt()
        receipt.count(
            input=usage.fresh + usage.cache_write,
            cached_input=usage.cache_read,
            output=usage.answered,
            reasoning=usage.reasoning,
        )
        if charge.outcome == DONE:
            receipt.prompt_tokens, receipt.answer_tokens = usage.prompt, usage.answered
        price = self._prices.price(lease.call.model, lease.reserved_at)
        receipt.prices = self._prices.told(lease.reserved_at)
        if charge.cost and not price.known:
            self.upper_charges.count(lease.call.model)
        said = (
            "counted here: the endpoint does not tell"
            if charge.outcome == DONE and usage.estimated
            else _SAID[charge.outcome]
        )
        receipt.add(
            STAGE,
            lease.call.model,
            usage.total,
            "tokens",
            cost_usd=dollars(charge.cost),
            reason=f"{lease.call.tier}: tokens {said}, price by {price.origin} ({price.version})",
        )


def _costs_more(line: ReceiptLine) -> bool:
    """Whether it is not in the ledger before its receipt is."""
    return bool(line.cost_usd) and line.stage != STAGE


def _unpaid(over: Over) -> list[ReceiptLine]:
    paid = set(map(id, over.paid))
    return [line for line in over.receipt.lines if _costs_more(line) and id(line) not in paid]


def _is_unpaid(over: Over) -> bool:
    return bool(_unpaid(over))


def _late() -> StorageLate:
    return StorageLate("the ledger can't be opened: others wait for it", retry_after_s=AGAIN_S)


def _tell_more(lease: Lease, charge: Charge) -> None:
    """By what an endpoint bills beyond its reservation a budget may be passed: only the endpoint can prevent that."""
    allowed = f"{lease.call.prompt_tokens} tokens of prompt and {lease.hold.output_tokens} of answer"
    billed = f"{charge.usage.prompt} and {charge.usage.answered}"
    _log.warning(
        "`%s` was allowed %s, and billed %s: $%s more than was held for it. Does it keep to its limit of tokens? "
        "Is its tokenizer here?",
        lease.call.model,
        allowed,
        billed,
        f"{dollars(charge.cost - lease.hold.cost):f}",
    )
