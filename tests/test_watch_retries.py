"""What failed while a folder is watched is tried again when that makes sense, and not before."""

from ragsaver.cli.watching import Retry
from ragsaver.errors import BudgetExceeded, RagSaverError
from tests.clock import Clock


def due_after(error: Exception) -> float:
    clock = Clock(0.0)
    retry = Retry(lambda failures: 10.0 * failures, clock)
    assert retry.failed(error)
    while not retry.due():
        clock.now += 1
    return clock.now


def test_it_waits_until_a_budget_says_that_it_begins_anew_for_an_hour_at_most():
    assert due_after(RagSaverError("it failed")) == 10
    assert due_after(BudgetExceeded("no room", retry_after_s=2)) == 10
    assert due_after(BudgetExceeded("no room", retry_after_s=600)) == 600
    assert due_after(BudgetExceeded("no room", retry_after_s=1e6)) == 3600
    assert due_after(BudgetExceeded("no room")) == 10
