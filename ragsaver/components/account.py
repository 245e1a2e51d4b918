"""On whose account is a request?"""

from dataclasses import replace

from ragsaver.components.forecast import current_forecast
from ragsaver.components.request import Request, current_request
from ragsaver.spend.budgets import Account
from ragsaver.spend.fees import Purse
from ragsaver.spend.money import charged, kept
from ragsaver.spend.receipt import OpenReceipt, current_receipt
from ragsaver.spend.till import STAGE, Till


def account_of(request: Request) -> Account:
    """As the ledger has it."""
    most = None if request.max_cost is None else kept(request.max_cost)
    name = request.charged_as or request.request_id
    return Account(request.scope.tenant, request.principal, request.pipeline, name, most)


def account_left(request: Request, receipt: OpenReceipt) -> Account:
    """The same; its ceiling is less by what the receipt says was paid for that is not in the ledger yet."""
    account = account_of(request)
    if account.most is None:
        return account
    beside = sum(charged(line.cost_usd) for line in receipt.unpaid() if line.stage != STAGE)
    return replace(account, most=max(account.most - beside, 0))


def account_foreseen(request: Request, receipt: OpenReceipt) -> Account:
    """The same where only its cost is asked for: its ceiling is less by all that the receipt and the forecast have."""
    account, forecast = account_of(request), current_forecast()
    if account.most is None:
        return account
    noted = sum(charged(line.cost_usd) for line in receipt.lines) + (charged(forecast.most_usd) if forecast else 0)
    return replace(account, most=max(account.most - noted, 0))


def current_account(till: Till) -> Account:
    """Who pays for what the running request does, as far as its ceiling goes; nobody's outside of one."""
    request = current_request()
    return till.nobody() if request is None else account_left(request, current_receipt())


def current_purse(till: Till) -> Purse:
    """The money of that account."""
    return till.purse(current_account(till))
