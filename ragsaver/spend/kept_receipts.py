"""Receipts of requests that are over are kept in the background, and those that come together in one transaction.

Nobody waits for them: who wants to read one waits until those that were given before are kept (`flush`).
"""

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from ragsaver.errors import StorageError
from ragsaver.spend.budgets import Account
from ragsaver.spend.gathered import Gathered
from ragsaver.spend.receipt import Receipt

# What is paid for waits so long for others to come. What is not in the ledger yet is written down at once.
GATHER_S = 0.1
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
    :param unpaid: whether there are such lines.
    :param keep: keeps some, all of them or none; by a StorageError it says that it could not.
    :param gather_s: for which what is paid for waits for others.
    """

    def __init__(
        self,
        charge: Callable[[Over], None],
        unpaid: Callable[[Receipt], bool],
        keep: Callable[[Sequence[Over]], None],
        gather_s: float = GATHER_S,
    ) -> None:
        self._charge = charge
        self._unpaid = unpaid
        self._keep = keep
        self._gathered = Gathered(self._keep_given, gather_s, "receipts")

    def give(self, one: Over) -> None:
        """Keep it soon."""
        self._gathered.give(one, at_once=self._unpaid(one.receipt))

    def flush(self) -> None:
        """Wait until all that were given so far are kept."""
        self._gathered.flush()

    def close(self) -> None:
        """Keep what was given; nothing may be given any more."""
        self._gathered.close()

    def _keep_given(self, given: Sequence[Over]) -> None:
        charged = [one for one in given if not self._unpaid(one.receipt) or self._worked(self._charge, one, [one])]
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
