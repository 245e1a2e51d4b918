"""What was reserved is settled, or waits for that: a ledger that can't be written now can be later."""

import logging
from collections import deque
from collections.abc import Callable

from ragsaver.errors import StorageError
from ragsaver.spend.ledger import Charge, Lease, Ledger

# What is beyond expires, charged all that it held.
_MOST_LATE = 10_000

_log = logging.getLogger(__name__)


class Settling:
    """Settles the leases of a process. Any thread may use it.

    :param ledger: gives the ledger.
    :param settled: called after each lease that is settled.
    """

    def __init__(self, ledger: Callable[[], Ledger], settled: Callable[[], None]) -> None:
        self._ledger = ledger
        self._settled = settled
        self._late: deque[tuple[Lease, Charge]] = deque(maxlen=_MOST_LATE)

    @property
    def waiting(self) -> int:
        """Charges that wait for a ledger that could not be written."""
        return len(self._late)

    def settle(self, lease: Lease, charge: Charge) -> bool:
        """Charge what is over. It never fails: what can't be written now is written before the next reservation, and
        what no process writes any more expires.

        :returns: whether it is written.
        """
        try:
            self._ledger().settle(lease, charge)
        except StorageError as error:
            _log.warning("a charge of %s micro-dollars waits for the ledger: %s", charge.cost, error)
            self._late.append((lease, charge))
            return False
        self._settled()
        return True

    def settle_late(self) -> None:
        """Write what waits, as far as that can be done."""
        while self._late:
            try:
                lease, charge = self._late.popleft()
            except IndexError:  # another thread was faster
                return
            try:
                self._ledger().settle(lease, charge)
            except StorageError:
                # Whether a ledger that fails may be spent on is decided where money is reserved.
                self._late.appendleft((lease, charge))
                return
