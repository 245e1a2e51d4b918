"""What was spent and what is left, as people and programs are told it."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from ragsaver.settings import DatabaseSettings, PriceSettings
from ragsaver.spend.budgets import Account, Hold
from ragsaver.spend.kept_receipts import Over
from ragsaver.spend.ledger import DONE, UNKNOWN, Call, Charge
from ragsaver.spend.prices import PriceBook
from ragsaver.spend.receipt import Receipt, open_receipt
from ragsaver.spend.reports import budgets_report, find_receipt, reprice, usage_report
from ragsaver.spend.usage import TokenUsage
from tests.clock import Clock
from tests.commands import as_json, run
from tests.spend.ledgers import budget, ledger

ALICE, BOB = Account("acme", "alice", "query", "req_1"), Account("other", "bob", "query", "req_2")
BOOK = PriceBook({"tiny": PriceSettings(input_per_mtok=1, output_per_mtok=10)})


def spend(book, account: Account, usage: TokenUsage | None, model: str = "tiny") -> None:
    price = BOOK.price("tiny")
    worst = int(price.worst(100, 50) * 1_000_000)
    lease = book.reserve(account, Call("small", model, "answer", 100, BOOK.version), Hold(worst, 50), None, 60)
    if usage is None:
        usage = TokenUsage(fresh=100, output=50, estimated=True)
        book.settle(lease, Charge(worst, usage, UNKNOWN))
    else:
        book.settle(lease, Charge(int(price.of(usage) * 1_000_000), usage, DONE))


def test_usage_adds_up_by_whatever_it_is_told(tmp_path: Path, database: DatabaseSettings):
    with ledger(tmp_path, database) as book:
        spend(book, ALICE, TokenUsage(fresh=60, cache_read=0, output=20))
        spend(book, BOB, None)
        book.keep_receipts([Over(ALICE, Receipt(saved_usd=Decimal("0.001")), complete=True)])
        report = usage_report(book)
        assert report.total.cost_usd == Decimal("0.00086")
        assert (report.total.calls, report.total.fresh, report.total.output) == (2, 160, 70)
        assert report.total.saved_usd == Decimal("0.001")
        by_tenant = usage_report(book, by="tenant")
        assert [(line.name, line.cost_usd * 1_000_000) for line in by_tenant.lines] == [("other", 600), ("acme", 260)]
        assert usage_report(book, tenant="acme").total.cost_usd == Decimal("0.00026")
        assert usage_report(book, tenant="acme", principal="bob").total.calls == 0
        assert usage_report(book, since=book.clock() + 1).total.calls == 0


def test_budgets_tell_what_is_spent_held_and_left(tmp_path: Path, database: DatabaseSettings):
    wishes = [budget("total", "day", 5000), budget("tenant", "month", 2000), budget("tenant", "month", 9000, "nobody")]
    with ledger(tmp_path, database, wishes) as book:
        spend(book, ALICE, TokenUsage(fresh=60, output=20))
        book.reserve(BOB, Call("small", "tiny", "answer", 100, ""), Hold(700, 50), None, 60)
        lines = budgets_report(book).budgets
        told = {(line.scope, line.name): (line.spent_usd, line.held_usd, line.remaining_usd) for line in lines}
        assert told[("total", "")] == (Decimal("0.00026"), Decimal("0.0007"), Decimal("0.00404"))
        assert told[("tenant", "other")][1] == Decimal("0.0007")
        assert told[("tenant", "nobody")] == (0, 0, Decimal("0.009"))
        assert [line.name for line in budgets_report(book, tenant="acme").budgets] == ["acme"]
        assert lines[0].resets_at.endswith("T00:00:00+00:00")


def test_a_budget_for_each_is_told_of_who_asks_and_of_who_spent_this_month_before_it_is_used(
    tmp_path: Path, database: DatabaseSettings, clock: Clock
):
    wishes = [
        budget("tenant", "day", 2000),
        budget("tenant", "day", 9000, "umbrella"),
        budget("principal", "hour", 999),
    ]

    def told(**asked) -> set[tuple[str, str, str]]:
        lines = budgets_report(book, **asked).budgets
        assert all((line.spent_usd, line.held_usd, line.remaining_usd) == (0, 0, line.limit_usd) for line in lines)
        return {(line.scope, line.name, line.period) for line in lines}

    with ledger(tmp_path, database, wishes, clock) as book:
        named, nobody, eve = ("tenant", "umbrella", "day"), Account("nobody"), Account("umbrella", "eve")
        assert told() == {named}
        assert told(known=[nobody]) == {named, ("tenant", "nobody", "day")}
        assert told(tenant="umbrella", known=[eve]) == {named, ("principal", "umbrella/eve", "hour")}
        assert told(tenant="acme", known=[eve]) == set()
        spend(book, ALICE, TokenUsage(fresh=6))
        clock.now += 86_400
        mine = {("tenant", "acme", "day"), ("principal", "acme/alice", "hour")}
        assert told() == {named, *mine} and told(tenant="acme") == mine


def test_a_receipt_is_found_by_its_own_tenant_only(tmp_path: Path, database: DatabaseSettings):
    with ledger(tmp_path, database) as book:
        for cost in (1, 2):
            with open_receipt() as receipt:
                receipt.add("generate", "tiny", 1, "tokens", cost_usd=Decimal(cost) / 1_000_000)
            book.keep_receipts([Over(ALICE, receipt.close(), complete=True)])
        found = find_receipt(book, "acme", "req_1")
        assert (found.receipt.cost_usd, found.principal) == (Decimal("0.000002"), "alice")
        assert find_receipt(book, "other", "req_1") is None
        with open_receipt() as receipt:
            book.keep_receipts([Over(replace(ALICE, principal="bob"), receipt.close(), complete=True)])
        assert find_receipt(book, "acme", "req_1").principal == "bob"
        assert find_receipt(book, "acme", "req_1", principal="alice") == found
        assert find_receipt(book, "acme", "req_1", principal="eve") is None


def test_charges_can_be_priced_again(tmp_path: Path, database: DatabaseSettings):
    clock = Clock()
    with ledger(tmp_path, database, [], clock) as book:
        spend(book, ALICE, TokenUsage(fresh=60, output=20))
        spend(book, BOB, None)
        same = reprice(book, BOOK)
        assert (same.difference_usd, same.lines[0].books) == (0, (BOOK.version,))
        dearer = PriceBook({"tiny": PriceSettings(input_per_mtok=2, output_per_mtok=20)})
        assert dearer.version != BOOK.version
        again = reprice(book, dearer)
        assert again.repriced_usd == 2 * again.charged_usd == 2 * usage_report(book).total.cost_usd


def test_the_commands_tell_it_too(tmp_path: Path):
    (tmp_path / "ragsaver.yaml").write_text(
        "spend: {budgets: [{scope: total, period: month, limit_usd: 5}, {scope: tenant, period: day, limit_usd: 1}]}"
    )
    for whose, asked in (("default", []), ("acme", ["--tenant", "acme"])):
        lines = as_json(tmp_path, "budgets", *asked)["budgets"]
        told = [(line["scope"], line["name"], line["limit_usd"], line["remaining_usd"]) for line in lines]
        assert told == ([] if asked else [("total", "", 5, 5)]) + [("tenant", whose, 1, 1)]
    assert as_json(tmp_path, "usage", "--by", "tenant", "--since", "2026-01-01")["total"]["calls"] == 0
    assert as_json(tmp_path, "spend", "reprice")["charged_usd"] == 0
    wrong = run(tmp_path, "spend", "receipt", "req_0", "--json", code=2)
    assert json.loads(wrong.stdout.splitlines()[-1])["error"]["title"] == "No such receipt"
    assert "no day" in run(tmp_path, "usage", "--since", "yesterday", code=2).stderr
    late = "9999-12-31T23:59:59-23:59"
    assert "beyond the calendar" in run(tmp_path, "spend", "reprice", "--since", late, code=2).stderr
