"""Receipts that come together are kept together, in their order; who waits for them does not wait for others."""

import threading
from collections.abc import Sequence
from decimal import Decimal

from ragsaver.errors import StorageError
from ragsaver.spend.budgets import Account
from ragsaver.spend.kept_receipts import KeptReceipts, Over
from ragsaver.spend.receipt import Receipt

HOURS_S = 36_000.0
FREE, PAID = Receipt(), Receipt(cost_usd=Decimal("0.5"))


def over(name: object, receipt: Receipt = FREE) -> Over:
    return Over(Account("acme", request_id=str(name)), receipt, complete=True)


def costs(receipt: Receipt) -> bool:
    return receipt.cost_usd > 0


class Book:
    """Remembers what was asked of it."""

    def __init__(self) -> None:
        self.charged: list[str] = []
        self.kept: list[list[str]] = []
        self.written = threading.Event()

    def charge(self, one: Over) -> None:
        self.charged.append(one.account.request_id)

    def keep(self, some: Sequence[Over]) -> None:
        self.kept.append([one.account.request_id for one in some])
        self.written.set()

    @property
    def in_order(self) -> list[str]:
        return [one for some in self.kept for one in some]


def test_those_that_are_paid_for_wait_for_each_other_and_a_flush_waits_for_all_of_them():
    book = Book()
    receipts = KeptReceipts(book.charge, costs, book.keep, gather_s=HOURS_S)
    for n in range(100):
        receipts.give(over(n))
    receipts.flush()
    assert book.kept == [[str(n) for n in range(100)]]
    receipts.close()


def test_one_that_is_not_paid_for_is_written_at_once_with_those_before_it():
    book = Book()
    receipts = KeptReceipts(book.charge, costs, book.keep, gather_s=HOURS_S)
    receipts.give(over("free"))
    receipts.give(over("paid", PAID))
    assert book.written.wait(30)
    receipts.close()
    assert (book.in_order, book.charged) == (["free", "paid"], ["paid"])


def test_what_was_given_is_kept_when_the_process_ends_in_order():
    book = Book()
    receipts = KeptReceipts(book.charge, costs, book.keep, gather_s=HOURS_S)
    for n in range(1200):
        receipts.give(over(n))
    receipts.close()
    assert book.in_order == [str(n) for n in range(1200)]
    assert max(map(len, book.kept)) <= 500


def test_threads_that_give_and_flush_at_once_find_their_own_kept():
    book = Book()
    receipts = KeptReceipts(book.charge, costs, book.keep, gather_s=0.001)
    missing: list[str] = []

    def ask(name: int) -> None:
        for n in range(50):
            receipts.give(over(f"{name}-{n}"))
            receipts.flush()
            if f"{name}-{n}" not in book.in_order:
                missing.append(f"{name}-{n}")

    threads = [threading.Thread(target=ask, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    receipts.close()
    assert not missing
    assert len(book.in_order) == len(set(book.in_order)) == 400


def test_a_ledger_that_fails_loses_those_and_not_the_next_and_charges_none_twice(caplog):
    class Full(Book):
        def keep(self, some: Sequence[Over]) -> None:
            if not self.written.is_set():
                self.written.set()
                raise StorageError("the ledger can't be written: the disk is full")
            super().keep(some)

    book = Full()
    receipts = KeptReceipts(book.charge, costs, book.keep, gather_s=HOURS_S)
    receipts.give(over("first", PAID))
    receipts.flush()
    receipts.give(over("second", PAID))
    receipts.flush()
    receipts.close()
    assert (book.kept, book.charged) == ([["second"]], ["first", "second"])
    assert "the disk is full" in caplog.text
    assert "first" in caplog.text
