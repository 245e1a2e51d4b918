"""Receipts that come together are kept together, in their order; who waits for them does not wait for others."""

import threading
from collections.abc import Sequence
from decimal import Decimal

import pytest

from ragsaver.errors import StorageError, StorageUnavailable
from ragsaver.spend.budgets import Account
from ragsaver.spend.kept_receipts import KeptReceipts, Over
from ragsaver.spend.receipt import Receipt

HOURS_S = 36_000.0
FREE, PAID = Receipt(), Receipt(cost_usd=Decimal("0.5"))


def over(name: object, receipt: Receipt = FREE) -> Over:
    return Over(Account("acme", request_id=str(name)), receipt, complete=True)


def costs(one: Over) -> bool:
    return one.receipt.cost_usd > 0


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


class Down(Book):
    """A ledger that can't be written while it is down; it charges all the same."""

    def __init__(self, error: type[StorageError] = StorageUnavailable, poison: str = "") -> None:
        super().__init__()
        self.down = not poison
        self.error = error
        self.poison = poison
        self.tried = threading.Semaphore(0)

    def keep(self, some: Sequence[Over]) -> None:
        self.tried.release()
        if self.down or self.poison in [one.account.request_id for one in some]:
            raise self.error("the ledger can't be written")
        super().keep(some)


@pytest.mark.parametrize("error", [StorageError, StorageUnavailable])
def test_what_a_ledger_did_not_take_is_kept_before_what_comes_next_and_charged_once(error: type[StorageError]):
    book = Down(error)
    receipts = KeptReceipts(book.charge, costs, book.keep, gather_s=HOURS_S, again_s=HOURS_S)
    receipts.give(over("first", PAID))
    assert receipts.flush()
    assert receipts.is_open("acme", "first", None) and not receipts.is_open("umbrella", "first", None)
    assert receipts.waiting == 1
    book.down = False
    receipts.give(over("second", PAID))
    assert receipts.flush()
    assert (book.in_order, book.charged) == (["first", "second"], ["first", "second"])
    assert not receipts.is_open("acme", "first", None) and (receipts.waiting, receipts.lost) == (0, 0)
    receipts.close()


def test_a_ledger_is_tried_again_although_nothing_comes():
    book = Down()
    receipts = KeptReceipts(book.charge, costs, book.keep, gather_s=0.001, again_s=0.01)
    receipts.give(over("only"))
    for _ in range(3):
        assert book.tried.acquire(timeout=30)
    book.down = False
    assert book.written.wait(30)
    receipts.close()
    assert book.in_order == ["only"]


def test_those_beyond_the_bound_are_lost_and_told_and_so_are_those_that_wait_at_the_end(caplog):
    book = Down()
    receipts = KeptReceipts(book.charge, costs, book.keep, gather_s=HOURS_S, again_s=HOURS_S, most=2)
    for name in ("one", "two", "three"):
        receipts.give(over(name))
        receipts.flush()
    assert (receipts.waiting, receipts.lost) == (2, 1)
    assert "three" in caplog.text and "one, two" not in caplog.text
    assert not receipts.is_open("acme", "three", None) and receipts.is_open("acme", "one", None)
    receipts.close()
    assert "one, two" in caplog.text and receipts.lost == 3


def test_one_that_the_ledger_never_takes_does_not_keep_the_others_waiting(caplog):
    book = Down(StorageError, poison="bad")
    receipts = KeptReceipts(book.charge, costs, book.keep, gather_s=HOURS_S, again_s=HOURS_S)
    for name in ("good", "bad", "better"):
        receipts.give(over(name, PAID if name == "bad" else FREE))
    receipts.flush()
    receipts.close()
    assert book.in_order == ["good", "better"] and receipts.lost == 1 and "bad" in caplog.text
