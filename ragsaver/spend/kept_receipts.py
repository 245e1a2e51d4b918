"""Receipts of requests that are over are kept in the background, and those that come together in one transaction.

Nobody waits for them: who wants to read one waits until those that were given before are kept (`flush`).
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from ragsaver.errors import StorageError
from ragsaver.spend.budgets import Account
from ragsaver.spend.receipt import Receipt

# What cost nothing waits so long for others to come. What cost something is written down at once.
GATHER_S = 0.02
_TOGETHER = 500

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Over(NamedTuple):
    """The receipt of a request that is over.

    :ivar complete: whether there was an answer.
    """

    account: Account
    receipt: Receipt
    complete: bool


class KeptReceipts:
    """Takes receipts from any thread; one of its own keeps them, in the order in which they came.

    :param charge: puts into the ledger what a receipt's lines cost that is not there yet; called once for each.
    :param keep: keeps some, all of them or none; by a StorageError it says that it could not.
    :param gather_s: for which what cost nothing waits for others.
    """

    def __init__(
        self, charge: Callable[[Over], None], keep: Callable[[Sequence[Over]], None], gather_s: float = GATHER_S
    ) -> None:
        self._charge = charge
        self._keep = keep
        self._gather_s = gather_s
        self._given: list[Over] = []
        self._giving = threading.Lock()
        self._hurry = threading.Event()
        self._thread = ThreadPoolExecutor(1, "receipts")

    def give(self, one: Over) -> None:
        """Keep it soon."""
        with self._giving:
            if not self._given:
                self._thread.submit(self._keep_given)
            self._given.append(one)
            if one.receipt.cost_usd:  # under the lock, since whoever takes what was given ends the hurry
                self._hurry.set()

    def flush(self) -> None:
        """Wait until all that were given so far are kept."""
        self._hurry.set()
        self._thread.submit(lambda: None).result()

    def close(self) -> None:
        """Keep what was given; nothing may be given any more."""
        self._hurry.set()
        self._thread.shutdown()

    def _keep_given(self) -> None:
        self._hurry.wait(self._gather_s)
        with self._giving:
            self._hurry.clear()
            given, self._given = self._given, []
        charged = [one for one in given if not one.receipt.cost_usd or self._worked(self._charge, one, [one])]
        for start in range(0, len(charged), _TOGETHER):
            some = charged[start : start + _TOGETHER]
            self._worked(self._keep, some, some)

    def _worked(self, work: Callable[[T], None], on: T, given: Sequence[Over]) -> bool:
        try:
            work(on)
            return True
        except StorageError as error:
            _log.warning("receipts are not kept: %s; they are those of %s", error, _told(given))
        except Exception:
            _log.exception("receipts are not kept: those of %s", _told(given))
        return False


def _told(given: Sequence[Over]) -> str:
    return ", ".join(one.account.request_id for one in given)
