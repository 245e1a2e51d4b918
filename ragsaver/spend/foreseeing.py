"""What would a reservation say as things stand? Nothing is kept back."""

from ragsaver.spend.budgets import REQUEST, Account, Hold, Standing, Window, choose
from ragsaver.spend.ledger import Ledger


def foresee(ledger: Ledger, account: Account, whole: Hold, learned: Hold | None) -> None:
    """Refuse what `Ledger.reserve` would refuse, of a request that has paid for nothing yet.

    :raises BudgetExceeded: if a budget has no room for it.
    :raises TooExpensive: if the request's own ceiling has none.
    """
    standings, limits = ledger.standings(account)
    if account.most is not None:
        ceiling = Window(REQUEST, account.request, REQUEST, 0, 0)
        standings, limits = [*standings, Standing(ceiling, 0, 0)], {**limits, ceiling.id: account.most}
    choose(standings, limits, whole, learned, ledger.clock())
