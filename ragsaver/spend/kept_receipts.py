"""Receipts of requests that are over are kept in the background, and those that come together in one transaction.

Nobody waits for them: who wants to read one waits until those that were given before are kept (`flush`). Where the
ledger can't be written they wait in memory, and are written in their order once it can be.
"""

import logging
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ragsaver.deadline import due
from ragsaver.errors import StorageError, StorageUnavailable
from ragsaver.spend.budgets import Account
from ragsaver.spend.gathered import Gathered
from ragsaver.spend.receipt import Receipt, ReceiptLine

# What is paid for waits so long for others to come. What is not in the ledger yet is written down at once.
GATHER_S = 0.1
_TOGETHER = 500

# After a ledger that could not be written is tried again, also if nothing comes; and receipts that wait for it.
AGAIN_S = 5.0
_MOST = 5000
# For which another process's lock is waited for, since others of this process wait meanwhile; and how many receipts a
# ledger refuses before it is taken to refuse all.
PATIENCE_S = 5.0
_REFUSED = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Over:
    """The receipt of a request that is over.

    :ivar complete: whether there was an answer.
    :ivar at: when, in seconds since the epoch; when it is written if None.
    :ivar paid: its very lines that are in the ledger already.
    :ivar beside: only what its lines cost is charged; there is no receipt to keep.
    :ivar id: of what it puts into the ledger, so that nothing is put there twice.
    """

    account: Account
    receipt: Receipt
    complete: bool
    at: float | None = None
    beside: bool = False
    paid: tuple[ReceiptLine, ...] = ()
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


class KeptReceipts:
    """Takes receipts from any thread; one of its own keeps them, in the order in which they came.

    :param charge: puts into the ledger what a receipt's lines cost that is not there yet: all or nothing.
    :param unpaid: whether there are such lines.
    :param keep: keeps some, all of them or none; by a StorageError it says that it could not.
    :param gather_s: for which what is paid for waits for others.
    :param again_s: after which a ledger that could not be written is tried again.
    :param most: that wait for it; what is beyond is logged, and lost.
    :ivar lost: receipts that were not kept.
    """

    def __init__(
        self,
        charge: Callable[[Over], None],
        unpaid: Callable[[Over], bool],
        keep: Callable[[Sequence[Over]], None],
        gather_s: float = GATHER_S,
        again_s: float = AGAIN_S,
        most: int = _MOST,
    ) -> None:
        self._charge = charge
        self._unpaid = unpaid
        self._keep = keep
        self._again_s = again_s
        self._most = most
        self.lost = 0
        # Both are of the one thread that writes.
        self._waiting: deque[Over] = deque()
        self._charged: set[str] = set()
        self._timer: threading.Timer | None = None
        self._open: Counter[tuple[str, str, str | None]] = Counter()
        self._counting = threading.Lock()
        self._gathered = Gathered(self._keep_given, gather_s, "receipts")

    @property
    def waiting(self) -> int:
        """Receipts that wait for a ledger that could not be written."""
        return len(self._waiting)

    def give(self, one: Over) -> None:
        """Keep it soon."""
        with self._counting:
            self._open[_name(one)] += 1
        self._gathered.give(one, at_once=self._unpaid(one))

    def is_open(self, tenant: str, request_id: str, principal: str | None) -> bool:
        """Whether a receipt was given and is not kept yet.

        :param principal: whose; of any if None.
        """
        with self._counting:
            if principal is not None:
                return (tenant, request_id, principal) in self._open
            return any((tenant, request_id) == one[:2] for one in self._open)

    def flush(self, within_s: float | None = None) -> bool:
        """Wait until those that were given so far are kept, or found to have to wait; false if that takes longer."""
        return self._gathered.flush(within_s)

    def close(self) -> None:
        """Keep what was given, and try what waits for the last time; nothing may be given any more."""
        self._gathered.look()
        self._gathered.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._waiting:
            self._lose(self._waiting, "the process ends before the ledger could be written")
            self._waiting.clear()

    def _keep_given(self, given: Sequence[Over]) -> None:
        self._timer = self._timer if given else None  # that of a look is over
        waiting = [*self._waiting, *given]
        self._waiting.clear()
        with due(time.monotonic() + PATIENCE_S):
            self._keep_all(waiting)

    def _keep_all(self, waiting: Sequence[Over]) -> None:
        for start in range(0, len(waiting), _TOGETHER):
            some = waiting[start : start + _TOGETHER]
            try:
                self._write(some)
            except StorageError as error:
                if isinstance(error, StorageUnavailable) or not self._written_apart(some):
                    self._wait(waiting[start:], error)
                    return
            except Exception:
                _log.exception("receipts are not kept: those of %s", _told(some))
                self._lose(some, "they can't be written")
            else:
                self._done(some)

    def _write(self, some: Sequence[Over]) -> None:
        for one in some:
            if one.id not in self._charged and self._unpaid(one):
                self._charge(one)
                self._charged.add(one.id)
        if receipts := [one for one in some if not one.beside]:
            self._keep(receipts)

    def _written_apart(self, some: Sequence[Over]) -> bool:
        """Whether the ledger takes some of them: then the others are lost, and keep nothing behind them waiting."""
        refused: list[Over] = []
        for place, one in enumerate(some):
            try:
                self._write([one])
            except StorageError:
                refused.append(one)
                if len(refused) == place + 1 == min(len(some), _REFUSED):
                    return False
            else:
                self._done([one])
        self._lose(refused, "the ledger takes others")
        return True

    def _wait(self, some: Sequence[Over], why: StorageError) -> None:
        first = not self._waiting and self._timer is None
        self._waiting.extend(some[: self._most])
        if len(some) > self._most:
            self._lose(some[self._most :], f"{self._most} wait for the ledger already")
        if first:
            _log.warning("receipts wait for the ledger: %s", why)
        if self._timer is None:
            self._timer = threading.Timer(self._again_s, self._gathered.look)
            self._timer.daemon = True
            self._timer.start()

    def _lose(self, some: Sequence[Over], why: str) -> None:
        _log.warning("receipts are not kept: %s; they are those of %s", why, _told(some))
        self.lost += len(some)
        self._done(some)

    def _done(self, some: Sequence[Over]) -> None:
        self._charged.difference_update(one.id for one in some)
        with self._counting:
            for one in some:
                name = _name(one)
                self._open[name] -= 1
                if self._open[name] <= 0:
                    del self._open[name]


def _name(one: Over) -> tuple[str, str, str | None]:
    return one.account.tenant, one.account.request_id, one.account.principal


def _told(given: Sequence[Over]) -> str:
    return ", ".join(one.account.request_id for one in given)
