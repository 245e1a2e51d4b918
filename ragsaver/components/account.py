"""On whose account is a request?"""

from ragsaver.components.request import Request
from ragsaver.spend.budgets import Account
from ragsaver.spend.money import kept


def account_of(request: Request) -> Account:
    """As the ledger has it."""
    most = None if request.max_cost is None else kept(request.max_cost)
    return Account(request.scope.tenant, request.principal, request.pipeline, request.request_id, most)
