"""On whose account is a request?"""

from dataclasses import replace

from ragsaver.components.request import Request
from ragsaver.spend.budgets import Account
from ragsaver.spend.money import charged, kept
from ragsaver.spend.receipt import OpenReceipt
from ragsaver.spend.till import STAGE


def account_of(request: Request) -> Account:
    """As the ledger has it."""
    most = None if request.max_cost is None else kept(request.max_cost)
    return Account(request.scope.tenant, request.principal, request.pipeline, request.request_id, most)


def account_left(request: Request, receipt: OpenReceipt) -> Account:
    """The same; its ceiling is less by what the receipt says was paid for beside calls of language models."""
    account = account_of(request)
    if account.most is None:
        return account
    beside = sum(charged(line.cost_usd) for line in receipt.lines if line.stage != STAGE)
    return replace(account, most=max(account.most - beside, 0))
